"""Names of files and classes: which entries count, and how names are shown."""

import functools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

CACHE_FOLDER = ".gmlight"  # of gmlight's own files, in a folder of images
# What a folder directly below the root is, by its name in lower case. Such a folder is never a class: no
# network may learn to tell the training part from the test part.
PARTS = {
    "train": "train", "training": "train",
    "test": "test", "testing": "test",
    "val": "val", "valid": "val", "validation": "val", "validate": "val", "dev": "val", "eval": "val",
}  # fmt: skip
# In lower case, besides names that begin with a dot or an @: entries of file managers, archives and disks.
_SYSTEM = {
    "__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information",
    "lost+found", "#recycle", "#snapshot", "icon\r",
}  # fmt: skip
_LONGEST = 80  # characters of a name that are shown
# Formats that Pillow knows but has no decoder for.
UNDECODED = {"BUFR", "GRIB", "HDF5", "MPEG"}
# Suffixes of pictures that Pillow reads only with an add-on.
_OTHER_PICTURES = {".arw", ".avif", ".cr2", ".cr3", ".dng", ".heic", ".heif", ".jxl", ".nef", ".svg"}


def is_hidden(name: str) -> bool:
    """Whether a file or folder belongs to the system rather than to the images."""
    return name.startswith((".", "@")) or name.lower() in _SYSTEM


def part_of(name: str) -> str | None:
    """Returns the part that a folder of this name is: `train`, `test` or `val`; None if it is none."""
    return PARTS.get(name.strip().lower())


def has_picture_suffix(path: str) -> bool:
    """Whether a file's suffix says that it is a picture."""
    return os.path.splitext(path)[1].lower() in _picture_suffixes()


@functools.cache
def _picture_suffixes() -> frozenset[str]:
    known = Image.registered_extensions().items()
    return frozenset(
        suffix for suffix, name in known if name in Image.OPEN and name not in UNDECODED
    ) | frozenset(_OTHER_PICTURES)


def printable(name: str | Path) -> str:
    """Formats a name for one line of output: control characters and bytes that are not UTF-8 are escaped."""
    text = str(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def name_some(names: Sequence[str]) -> str:
    """Formats the first five names, and the number of names if there are more; cuts long names."""
    cut = [name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..." for name in names[:5]]
    shown = ", ".join(cut)
    return shown if len(names) <= 5 else f"{shown}, ... ({len(names)})"


def name_values(value: object) -> str:
    """Formats a value for one line of output: of a list, the first five entries."""
    return f"[{name_some([repr(each) for each in value])}]" if isinstance(value, list) else f"{value}"


@dataclass
class PassedOver:
    """Entries of a folder that are not read, each with its reason.

    Args:
        paths: the entries, each once, by reason.
    """

    paths: dict[str, dict[str, None]] = field(default_factory=dict)

    def add(self, reason: str, paths: Iterable[str]) -> None:
        """Adds entries that are passed over for a reason."""
        if found := dict.fromkeys(paths):
            self.paths.setdefault(reason, {}).update(found)

    def lines(self, root: Path) -> list[str]:
        """Returns a line for each reason: the number of entries, the reason, and some of their paths.

        Args:
            root: the folder to which the paths are relative.
        """

        def shown(paths: Iterable[str]) -> str:
            return name_some([printable(os.path.relpath(path, root)) for path in paths])

        return [f"passed over: {len(paths)} {reason}: {shown(paths)}" for reason, paths in self.paths.items()]
