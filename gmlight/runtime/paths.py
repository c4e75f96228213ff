"""Where the configuration folder lies."""

from pathlib import Path

# Inside an installed package conf/ lies in it, in a checkout beside it.
_HERE = Path(__file__).resolve().parent.parent
CONF_DIR = next(folder for folder in (_HERE / "conf", _HERE.parent / "conf") if folder.is_dir())
