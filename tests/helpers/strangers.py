"""Helpers that change one value of a good set and compute both hashes anew, as a stranger could."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from gmlight.artifacts.set_files import METADATA, METADATA_HASH, TENSORS, write_metadata


def change_metadata(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes the metadata of a set in place, and hashes them.

    Args:
        folder: of the set.
        change: called with the metadata, which it changes.
    """
    metadata = json.loads((folder / METADATA).read_text())
    metadata.pop(METADATA_HASH, None)
    change(metadata)
    write_metadata(folder, metadata)


def set_value(folder: Path, key: str, value: Any) -> None:
    """Sets a value of the metadata by a key with dots, and hashes them."""

    def change(metadata: dict[str, Any]) -> None:
        *path, last = key.split(".")
        for name in path:
            if not isinstance(metadata.get(name), dict):
                metadata[name] = {}
            metadata = metadata[name]
        metadata[last] = value

    change_metadata(folder, change)


def write_content(folder: Path, content: bytes) -> None:
    """Replaces the file of tensors, and stores its hash."""
    (folder / TENSORS).write_bytes(content)
    set_value(folder, "sha256", hashlib.sha256(content).hexdigest())


def change_tensors(folder: Path, change: Callable[[dict[str, Tensor]], Mapping[str, Tensor]]) -> None:
    """Replaces the tensors by what `change` makes of them, and stores their hash and size."""
    tensors = {
        name: tensor.contiguous() for name, tensor in change(load((folder / TENSORS).read_bytes())).items()
    }
    floats = sum(tensor.numel() for name, tensor in tensors.items() if name != "labels")
    set_value(folder, "storage", {"floats": floats, "bytes": 4 * floats})
    write_content(folder, save(tensors))
