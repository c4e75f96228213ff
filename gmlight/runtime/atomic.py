"""Atomic file writes: a file is complete or absent, whenever the process ends."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def partial_path(path: Path) -> Path:
    """Returns the name under which a file is written until it is complete, in the same folder."""
    return path.with_name(f"{path.name}.unfinished")


@contextmanager
def atomic_write(path: Path, *, new: bool = False) -> Iterator[Path]:
    """Yields a temporary path to write to, and renames that file to `path` at the end.

    Args:
        path: the final path.
        new: whether an existing file is an error; otherwise it is replaced.

    Yields:
        The temporary path.

    Raises:
        FileExistsError: `new` is set and the file exists.
    """
    partial = partial_path(path)
    partial.unlink(missing_ok=True)  # it may be a hard link to another file, which must not change
    yield partial
    if new:
        os.link(partial, path)
        partial.unlink()
    else:
        partial.replace(path)
