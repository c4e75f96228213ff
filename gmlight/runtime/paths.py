"""Location of the configuration folder."""

from pathlib import Path

# An installed package contains conf/; in a checkout it lies beside the package.
_PACKAGE = Path(__file__).resolve().parent.parent
CONF_DIR = next(folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir())
