"""Checkpoint files that are whole or absent: the last and the one before, each with a hash."""

import hashlib
import io
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO

from gmlight.errors import ConfigError
from gmlight.runtime.atomic import atomic_write, partial_path

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
_HEAD = b"gmlight checkpoint, sha256 %s of what follows\n"
_LENGTH = len(_HEAD % bytes(64))


class AtomicCheckpointIO(CheckpointIO):
    """A line with a hash, and then what torch.save writes.

    A new checkpoint is written beside the last one, flushed to disk, and only then takes its name; the last
    one stays as the previous one. Lightning's own writes to TMPDIR and moves; across filesystems that copy
    can be cut short.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Writes it whole, or leaves what was there.

        Raises:
            ConfigError: the disk has no room for it.
        """
        final = Path(path)
        final.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        content = buffer.getbuffer()
        free = shutil.disk_usage(final.parent).free
        if free < len(content) + _LENGTH:
            raise _no_room(final, f"{free / 2**20:.1f} MiB are free, {len(content) / 2**20:.1f} are needed")
        beside = partial_path(final)
        try:
            with beside.open("wb") as file:
                file.write(_HEAD % hashlib.sha256(content).hexdigest().encode())
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise _no_room(final, str(error.strerror)) from None
        if final.exists():
            # By way of a link, so that at no moment there is none of that name.
            with atomic_write(final.with_name(PREVIOUS)) as link:
                os.link(final, link)
        beside.replace(final)
        _flush_names(final.parent)

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Plain containers and tensors, never code.

        Raises:
            ConfigError: the file is not the one that was written.
        """
        content = Path(path).read_bytes()
        head, body = content[:_LENGTH], content[_LENGTH:]
        if head != _HEAD % hashlib.sha256(body).hexdigest().encode():
            raise ConfigError(f"{path}: not a checkpoint as it was written")
        # On the host, wherever it was saved; who takes the values brings them to a device.
        return torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def find_checkpoint(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest readable checkpoint of a run's folder of checkpoints, and a line on each that is not.

    Raises:
        ConfigError: there are some, and none can be read.
    """
    unreadable: list[str] = []
    for path in (folder / LAST, folder / PREVIOUS):
        try:
            if path.exists():
                AtomicCheckpointIO().load_checkpoint(path)
                return path, unreadable
        except Exception as error:  # whatever torch says of content that it did not write
            reason = error if isinstance(error, ConfigError) else f"{path}: {str(error).splitlines()[0]}"
            unreadable.append(str(reason))
    if unreadable:
        raise ConfigError(f"{'; '.join(unreadable)}; no checkpoint can be read, start a new run")
    return None, []


def _no_room(path: Path, reason: str) -> ConfigError:
    return ConfigError(f"cannot write {path}: {reason}; make room and go on with resume={path.parent.parent}")


def _flush_names(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
