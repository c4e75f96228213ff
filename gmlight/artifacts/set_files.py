"""Reads and writes the files of a condensed set: names, hashes, atomic replacement."""

import hashlib
import json
import shutil
import stat
from pathlib import Path
from typing import Any

from safetensors.torch import load as load_safetensors
from torch import Tensor

from gmlight.errors import ConfigError
from gmlight.runtime.atomic import atomic_write
from gmlight.runtime.console import format_bytes

SCHEMA_VERSION = 4
_WITHOUT_SOFT_LABELS = 3  # written for sets without soft labels, so that older versions read them
METADATA_HASH = "metadata_sha256"
# Bytes that a file may have: it is read into memory.
LARGEST_METADATA, LARGEST_TENSORS = 2**26, 2**33
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
    version = SCHEMA_VERSION if metadata.get("soft_labels") else _WITHOUT_SOFT_LABELS
    # JSON turns number keys into text; the round trip makes the hash match the content as it is read.
    content = json.loads(json.dumps({"schema_version": version} | metadata))
    content[METADATA_HASH] = _hash_of(content)
    with atomic_write(folder / METADATA) as file:
        file.write_text(json.dumps(content, indent=2) + "\n")


def _hash_of(metadata: dict[str, Any]) -> str:
    content = {key: value for key, value in metadata.items() if key != METADATA_HASH}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_metadata(folder: Path) -> dict[str, Any]:
    """Reads the metadata of a set.

    Raises:
        ConfigError: the file is damaged, incomplete, contradicts itself, or is from a newer version.
    """
    path = folder / METADATA
    try:
        metadata = json.loads(_read(path, LARGEST_METADATA), parse_constant=_refuse_constant)
        version, computed = metadata["schema_version"], _hash_of(metadata)
        missing = {"sha256", "classes", "mean", "std"} - metadata.keys()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ConfigError(f"{path}: not the metadata of a condensed set; write the set again") from None
    if type(version) is not int or version < 1:
        raise ConfigError(f"{path}: schema_version must be a whole number of at least 1; write the set again")
    if version > SCHEMA_VERSION:
        raise ConfigError(
            f"{path}: schema version {version} is newer than {SCHEMA_VERSION}, which this gmlight reads; "
            "upgrade gmlight"
        )
    if missing:
        raise ConfigError(f"{path}: {', '.join(sorted(missing))} is missing; write the set again")
    # Schema version 1 has no hash of the metadata.
    if (version > 1 or METADATA_HASH in metadata) and metadata.get(METADATA_HASH) != computed:
        raise ConfigError(f"{path}: wrong hash, the file is damaged or was edited; copy it again")
    return metadata


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _read(path: Path, largest: int) -> bytes:
    # A pipe would wait for a writer, a device might never end.
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > largest:
            raise ConfigError(f"{path}: must be a file of at most {format_bytes(largest)}")
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); copy the whole folder again") from None


def read_tensors(folder: Path, sha256: str) -> dict[str, Tensor]:
    """Reads the tensors of a set.

    Args:
        folder: of the set.
        sha256: the file's hash, from the metadata.

    Raises:
        ConfigError: the file cannot be read, has another hash, or holds no tensors.
    """
    path = folder / TENSORS
    content = _read(path, LARGEST_TENSORS)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ConfigError(f"{path}: wrong hash, the file is damaged or was edited; copy it again")
    try:
        return load_safetensors(content)
    except Exception as error:  # safetensors and torch raise many types for what they cannot read
        line = str(error).partition("\n")[0]
        raise ConfigError(f"{path}: not readable as tensors ({line}); write the set again") from None
