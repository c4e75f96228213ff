"""The format of a checkpoint file: a line with a hash, then the output of torch.save."""

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from gmlight.artifacts.value_checks import is_count
from gmlight.errors import ConfigError

_HEAD = b"gmlight checkpoint, sha256 %s of what follows\n"
_HEAD_LENGTH = len(_HEAD % bytes(64))


def encode_checkpoint(checkpoint: dict[str, Any]) -> tuple[bytes, memoryview]:
    """Encodes a checkpoint.

    Args:
        checkpoint: plain containers and tensors.

    Returns:
        The two parts of the file: the line with the hash, and the body.
    """
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    body = buffer.getbuffer()
    return _HEAD % hashlib.sha256(body).hexdigest().encode(), body


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint of plain containers and CPU tensors; never runs code from the file.

    Raises:
        ConfigError: the file is damaged, or not a checkpoint of gmlight.
    """
    content = path.read_bytes()
    head, body = content[:_HEAD_LENGTH], content[_HEAD_LENGTH:]
    if head != _HEAD % hashlib.sha256(body).hexdigest().encode():
        raise ConfigError(f"{path}: damaged, or not a checkpoint of gmlight")
    checkpoint = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    if not isinstance(checkpoint, dict) or not is_count(checkpoint.get("global_step")):
        raise ConfigError(f"{path}: not a checkpoint of gmlight")
    return checkpoint
