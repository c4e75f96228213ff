"""Files that are whole or absent, whenever a process ends."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def unfinished(path: Path) -> Path:
    """Where a file is written until it is whole: beside it, on the same filesystem."""
    return path.with_name(f"{path.name}.unfinished")


@contextmanager
def whole(path: Path, *, new: bool = False) -> Iterator[Path]:
    """Yields where to write; what was written there takes the path's name at the end.

    Args:
        new: whether nothing may be written over; else what was there is replaced.

    Raises:
        FileExistsError: new, and there is such a file.
    """
    beside = unfinished(path)
    beside.unlink(missing_ok=True)  # not to write into a file that it is another name of
    yield beside
    if new:
        os.link(beside, path)
        beside.unlink()
    else:
        beside.replace(path)
