"""The format of a checkpoint file: a line with a hash, and then what torch.save writes."""

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from gmlight.errors import ConfigError

_HEAD = b"gmlight checkpoint, sha256 %s of what follows\n"
_HEAD_LENGTH = len(_HEAD % bytes(64))


def encode_checkpoint(checkpoint: dict[str, Any]) -> tuple[bytes, memoryview]:
    """Encodes a checkpoint as its line and its body, the two parts of the file.

    Args:
        checkpoint: plain containers and tensors.
    """
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    body = buffer.getbuffer()
    return _HEAD % hashlib.sha256(body).hexdigest().encode(), body


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads plain containers and tensors, never code; tensors are on the CPU.

    Raises:
        ConfigError: the file is not the one that was written.
    """
    content = path.read_bytes()
    head, body = content[:_HEAD_LENGTH], content[_HEAD_LENGTH:]
    if head != _HEAD % hashlib.sha256(body).hexdigest().encode():
        raise ConfigError(f"{path}: not a checkpoint as it was written")
    return torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
