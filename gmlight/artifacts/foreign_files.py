"""Reads tensors from files of other programs: never runs code from them, and limits what they unpack to."""

import hashlib
import os
import pickle
import stat
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from gmlight.artifacts.set_checks import LARGEST_DECODED, LARGEST_GROWTH
from gmlight.artifacts.set_files import LARGEST_TENSORS
from gmlight.errors import ConfigError
from gmlight.runtime.console import format_bytes

# Types of tensors whose values torch can convert; it also loads packed and quantized ones.
PLAIN_TYPES = {
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.float16, torch.bfloat16, torch.float32, torch.float64,
}  # fmt: skip


class _Ignored:
    # In place of a NumPy scalar: files of the DC family hold their accuracies as such, which are not read.
    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


_IGNORED: Any = [
    (_Ignored, name)
    for name in ("numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
]


def load_torch(path: Path) -> Any:
    """Reads a file of `torch.save` that holds tensors and plain containers.

    Raises:
        ConfigError: it cannot be read, or holds anything else.
    """
    _check_archive(path)
    try:
        with torch.serialization.safe_globals(_IGNORED), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of kinds of tensors that are refused
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ConfigError(
            f"{path}: holds more than tensors, which could run code; save it again as "
            "torch.save([images, labels], path)"
        ) from None
    except Exception as error:  # torch raises many types for what it cannot read
        refuse_unreadable(path, error)


def load_arrays(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Reads those of the named arrays that a .npz file has.

    Raises:
        ConfigError: it cannot be read, or an array holds Python objects.
    """
    _check_archive(path)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names if name in arrays.files}
    except Exception as error:  # NumPy raises many types for what it cannot read
        refuse_unreadable(path, error)


def as_tensor(value: Any, what: str) -> Tensor:
    """Checks that a value of a file is a usual tensor of a usual size.

    Args:
        value: of the file.
        what: its name, for messages.

    Raises:
        ConfigError: it is no tensor, or of a kind whose values are not stored one by one.
    """
    if not isinstance(value, Tensor):
        raise ConfigError(f"{what}: must be a tensor, not {type(value).__name__}")
    plain = type(value) in (Tensor, nn.Parameter) and not value.is_nested and value.layout == torch.strided
    if not plain or value.dtype not in PLAIN_TYPES or value.device.type != "cpu":
        raise ConfigError(f"{what}: must be a tensor of plain numbers")
    size, stored = value.numel() * value.element_size(), value.untyped_storage().nbytes()
    if size > max(LARGEST_DECODED, stored):
        raise ConfigError(f"{what}: repeats its values to {format_bytes(size)}, which is not plausible")
    return value.detach()


def as_array_tensor(value: np.ndarray, what: str) -> Tensor:
    """Converts a numeric array to a tensor.

    Raises:
        ConfigError: it is not numeric.
    """
    try:
        return torch.from_numpy(value)
    except TypeError:
        raise ConfigError(f"{what}: must be numbers, not {value.dtype}") from None


def check_regular(path: Path, largest: int = LARGEST_TENSORS) -> int:
    """Checks that a path is a file of a usual size: a pipe would wait, and a device might never end.

    Returns:
        Its size in bytes.

    Raises:
        ConfigError: it is no file, or too large.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); name another file or folder") from None
    if not stat.S_ISREG(status.st_mode) or status.st_size > largest:
        raise ConfigError(f"{path}: must be a file of at most {format_bytes(largest)}")
    return status.st_size


def largest_content(size: int) -> int:
    """Returns the bytes to which a file of this size may unpack."""
    return max(LARGEST_DECODED, LARGEST_GROWTH * size)


def digest(paths: Iterable[Path], root: Path) -> str:
    """Returns a sha256 of the names and the contents of files.

    Args:
        paths: the files.
        root: the folder to which the names are relative.
    """
    total = hashlib.sha256()
    for path in sorted(paths):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{content}  {os.path.relpath(path, root)}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def refuse_unreadable(path: Path, error: Exception) -> NoReturn:
    """Raises a ConfigError for a file that a library cannot read."""
    lines = str(error).splitlines() or [type(error).__name__]
    raise ConfigError(f"{path}: cannot be read ({lines[0][:200]}); copy it again, or name another") from None


def _check_archive(path: Path) -> None:
    # Both formats are zip archives; torch.save wrote others before version 1.6.
    size = check_regular(path)
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise ConfigError(
            f"{path}: must be a zip archive, as torch.save and numpy.savez write it; save it again"
        ) from None
    if unpacked > largest_content(size):
        raise ConfigError(f"{path}: unpacks to {format_bytes(unpacked)}, which is not plausible")


def named(content: Mapping[Any, Any], name: str, path: Path) -> Any:
    """Returns an entry of a file.

    Raises:
        ConfigError: the file lacks it.
    """
    if name not in content:
        raise ConfigError(f"{path}: has no {name}; name the layout of the file by layout=")
    return content[name]
