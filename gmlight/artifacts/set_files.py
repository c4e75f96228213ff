"""Reads and writes the files of a condensed set: names, hashes, atomic replacement."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load as load_safetensors
from torch import Tensor

from gmlight.errors import ConfigError
from gmlight.runtime.atomic import atomic_write

SCHEMA_VERSION = 3
METADATA_HASH = "metadata_sha256"
TENSORS, METADATA, GRID = "condensed.safetensors", "metadata.json", "grid.png"


def move_into_place(beside: Path, folder: Path, *, replace: bool) -> None:
    """Renames a complete folder to its final path.

    Args:
        beside: the complete folder.
        folder: the final path.
        replace: whether to replace an existing folder.

    Raises:
        OSError: the final path is a folder with files, and `replace` is not set.
    """
    before = folder.with_name(f"{folder.name}.before")
    shutil.rmtree(before, ignore_errors=True)
    if replace and folder.exists():
        folder.rename(before)
    beside.rename(folder)
    shutil.rmtree(before, ignore_errors=True)


def write_metadata(folder: Path, metadata: dict[str, Any]) -> None:
    """Writes the metadata of a set with its hash."""
    # JSON turns number keys into text; the round trip makes the hash match the content as it is read.
    content = json.loads(json.dumps({"schema_version": SCHEMA_VERSION} | metadata))
    content[METADATA_HASH] = _hash_of(content)
    with atomic_write(folder / METADATA) as file:
        file.write_text(json.dumps(content, indent=2) + "\n")


def _hash_of(metadata: dict[str, Any]) -> str:
    content = {key: value for key, value in metadata.items() if key != METADATA_HASH}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_metadata(folder: Path) -> dict[str, Any]:
    """Reads the metadata of a set.

    Raises:
        ConfigError: the file is damaged, incomplete, or from a newer version.
    """
    path = folder / METADATA
    try:
        metadata = json.loads(path.read_text())
        version = int(metadata["schema_version"])
        missing = {"sha256", "classes", "mean", "std"} - metadata.keys()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ConfigError(f"{path}: not the metadata of a condensed set; write the set again") from None
    if version > SCHEMA_VERSION:
        raise ConfigError(
            f"{path}: schema version {version} is newer than {SCHEMA_VERSION}, which this gmlight reads; "
            "upgrade gmlight"
        )
    if missing:
        raise ConfigError(f"{path}: {', '.join(sorted(missing))} is missing; write the set again")
    # Schema version 1 has no hash of the metadata.
    if (version > 1 or METADATA_HASH in metadata) and metadata.get(METADATA_HASH) != _hash_of(metadata):
        raise ConfigError(f"{path}: wrong hash, the file is damaged or was edited; copy it again")
    return metadata


def read_tensors(folder: Path, sha256: str) -> dict[str, Tensor]:
    """Reads the tensors of a set.

    Args:
        folder: of the set.
        sha256: the file's hash, from the metadata.

    Raises:
        ConfigError: the file cannot be read, or has another hash.
    """
    path = folder / TENSORS
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); copy the whole folder again") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ConfigError(f"{path}: wrong hash, the file is damaged or was edited; copy it again")
    return load_safetensors(content)
