"""A Lightning plugin that writes checkpoint files atomically."""

import errno
import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.fabric.plugins import CheckpointIO

from gmlight.artifacts.checkpoint_file import encode_checkpoint, read_checkpoint
from gmlight.artifacts.run_folder import RunFolder
from gmlight.errors import ConfigError
from gmlight.runtime.atomic import atomic_write, flush_names, partial_path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


class AtomicCheckpointIO(CheckpointIO):
    """Keeps the last two checkpoints of a run, each with a hash.

    A new checkpoint is written to a partial file and flushed to disk, and then replaces the last checkpoint,
    which becomes the previous one. Lightning's default plugin writes to TMPDIR and moves the file; between
    filesystems, such a move can leave a truncated file.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Writes a checkpoint completely, or keeps the existing file.

        Args:
            checkpoint: plain containers and tensors.
            path: path of a run folder's last checkpoint.
            storage_options: ignored.

        Raises:
            ConfigError: the disk is full, or the file cannot be written.
        """
        final = Path(path)
        folder = RunFolder.of_checkpoint(final)
        final.parent.mkdir(parents=True, exist_ok=True)
        flush_names(folder.path)
        head, body = encode_checkpoint(checkpoint)
        free = shutil.disk_usage(final.parent).free
        if free < len(head) + len(body):
            reason = f"{free / 2**20:.1f} MiB are free, {len(body) / 2**20:.1f} are needed"
            raise cannot_write(final, folder, OSError(errno.ENOSPC, reason))
        beside = partial_path(final)
        try:
            with beside.open("wb") as file:
                file.write(head)
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise cannot_write(final, folder, error) from None
        if final.exists():
            # A hard link, so that the last checkpoint always exists.
            with atomic_write(folder.previous_checkpoint) as link:
                os.link(final, link)
        beside.replace(final)
        flush_names(final.parent)

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Reads a checkpoint of plain containers and CPU tensors; never runs code from the file.

        Args:
            path: a checkpoint.
            map_location: ignored; modules move the values to their device.
            weights_only: ignored; always True.

        Raises:
            ConfigError: the file is damaged, or not a checkpoint of gmlight.
        """
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Deletes the file if it exists."""
        Path(path).unlink(missing_ok=True)


def cannot_write(path: Path, folder: RunFolder, error: OSError) -> ConfigError:
    """Returns the error of a file of a begun run that cannot be written, with what to do.

    Args:
        path: the file, or the run folder.
        folder: of the run.
        error: why not.
    """
    mend, place = "make room" if error.errno in _FULL else "mend that", shlex.quote(str(folder.path))
    return ConfigError(f"cannot write {path}: {error.strerror}; {mend} and go on with resume={place}")


@contextmanager
def naming_write_errors(folder: RunFolder) -> Iterator[None]:
    """Explains in one line that a file of a begun run cannot be written in the block.

    Args:
        folder: of the run.

    Raises:
        ConfigError: the disk is full, read-only or broken, and the run has begun.
    """
    try:
        yield
    except OSError as error:
        path = Path(error.filename or folder.path)
        of_run = error.errno in _REFUSED and path.is_relative_to(folder.path)
        if not (error.errno in _FULL or of_run) or not folder.has_run:
            raise
        raise cannot_write(path, folder, error) from None
