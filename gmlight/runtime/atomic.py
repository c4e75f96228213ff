"""Atomic file writes: a file is complete or absent, whenever the process ends or the power fails."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def partial_path(path: Path) -> Path:
    """Returns the name under which a file is written until it is complete, in the same folder."""
    return path.with_name(f"{path.name}.unfinished")


@contextmanager
def atomic_write(path: Path, *, new: bool = False) -> Iterator[Path]:
    """Yields a temporary path to write to; at the end flushes that file to disk and renames it to `path`.

    After an error the temporary file is deleted, which makes room on a full disk.

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
    try:
        yield partial
        _flush(partial)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if new:
        os.link(partial, path)
        partial.unlink()
    else:
        partial.replace(path)
    flush_names(path.parent)


def flush_names(folder: Path) -> None:
    """Flushes the names of a folder's files to disk, if its filesystem can."""
    with suppress(OSError):
        _flush(folder)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
