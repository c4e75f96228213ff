"""Lightning's plugin for checkpoint files that are complete or absent."""

import os
import shutil
from pathlib import Path
from typing import Any

from lightning.fabric.plugins import CheckpointIO

from gmlight.artifacts.checkpoint_file import encode_checkpoint, read_checkpoint
from gmlight.artifacts.run_folder import RunFolder
from gmlight.errors import ConfigError
from gmlight.runtime.atomic import atomic_write, partial_path


class AtomicCheckpointIO(CheckpointIO):
    """Keeps the last checkpoint of a run and the one before it, each with a hash.

    A new checkpoint is written beside the last one, flushed to disk, and only then takes its name; the last
    one stays as the previous one. Lightning's own plugin writes to TMPDIR and moves; across filesystems that
    copy can be cut short.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Writes the whole checkpoint, or leaves what was there.

        Args:
            checkpoint: plain containers and tensors.
            path: the last checkpoint of a run folder.
            storage_options: ignored.

        Raises:
            ConfigError: the disk has no room for it.
        """
        final = Path(path)
        folder = RunFolder.of_checkpoint(final)
        final.parent.mkdir(parents=True, exist_ok=True)
        head, body = encode_checkpoint(checkpoint)
        free = shutil.disk_usage(final.parent).free
        if free < len(head) + len(body):
            reason = f"{free / 2**20:.1f} MiB are free, {len(body) / 2**20:.1f} are needed"
            raise _no_room(final, folder, reason)
        beside = partial_path(final)
        try:
            with beside.open("wb") as file:
                file.write(head)
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise _no_room(final, folder, str(error.strerror)) from None
        if final.exists():
            # A hard link, so that the last checkpoint exists at every moment.
            with atomic_write(folder.previous_checkpoint) as link:
                os.link(final, link)
        beside.replace(final)
        _flush_names(final.parent)

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Reads plain containers and tensors, never code; tensors are on the CPU.

        Args:
            path: a checkpoint.
            map_location: ignored; modules move the values to their device.
            weights_only: ignored; no file is loaded otherwise.

        Raises:
            ConfigError: the file is not the one that was written.
        """
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Removes the file if it exists."""
        Path(path).unlink(missing_ok=True)


def _no_room(path: Path, folder: RunFolder, reason: str) -> ConfigError:
    return ConfigError(f"cannot write {path}: {reason}; make room and go on with resume={folder.path}")


def _flush_names(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
