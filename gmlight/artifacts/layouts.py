"""Readers of condensed sets that other programs publish as tensors.

The files are data from strangers: nothing in them is run, and what contradicts itself is refused.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from gmlight.artifacts.foreign_files import as_array_tensor, as_tensor, load_arrays, load_torch, named
from gmlight.artifacts.foreign_set import ForeignSet
from gmlight.artifacts.value_checks import is_finite
from gmlight.errors import ConfigError

MTT_IMAGES, MTT_LABELS, MTT_RATE = "images_best.pt", "labels_best.pt", "lr_best.pt"
TORCH = (".pt", ".pth")  # suffixes of files of torch.save
LAYOUTS = "dc, idc, mtt, npz, pt, png, huggingface"
_ENTRIES = ("images", "labels", "soft_labels", "classes", "mean", "std")


def dc(path: Path, *, experiment: int) -> ForeignSet:
    """Reads a file of DC, DSA or DM: `{"data": [[images, labels], ...], "accs_all_exps": ...}`.

    Args:
        path: the file, or a folder with it alone.
        experiment: number of the experiment, from 0.
    """
    file = _file_in(path)
    return read_experiment(load_torch(file), file, experiment)


def read_experiment(content: Any, path: Path, experiment: int) -> ForeignSet:
    """Reads the content of a file of DC, DSA or DM."""
    data = named(content, "data", path) if isinstance(content, Mapping) else None
    if not (isinstance(data, list | tuple) and data):
        raise ConfigError(f"{path}: data must be a list of [images, labels], one for each experiment")
    if not 0 <= experiment < len(data):
        raise ConfigError(f"layout.experiment={experiment}: {path} has 0 to {len(data) - 1}")
    images, labels = _pair(data[experiment], path)
    notes = {"experiment": experiment, "experiments": len(data)}
    return ForeignSet("dc", [path], images, labels, normalization="dc", notes=notes)


def idc(path: Path) -> ForeignSet:
    """Reads IDC's or DREAM's `data.pt`: `[images, labels]`, with pixels in 0..1.

    Args:
        path: the file, or its folder.
    """
    file = _file_in(path, "data.pt")
    return read_pair(load_torch(file), file)


def read_pair(content: Any, path: Path) -> ForeignSet:
    """Reads the content of a file of IDC or DREAM."""
    images, labels = _pair(content, path)
    return ForeignSet("idc", [path], images, labels, normalization="none", decoded=False)


def mtt(path: Path) -> ForeignSet:
    """Reads a folder of MTT and its kin: `images_best.pt`, `labels_best.pt`, and `lr_best.pt` if it is there.

    Args:
        path: the folder.
    """
    files = [path / MTT_IMAGES, path / MTT_LABELS]
    images, labels = (as_tensor(load_torch(file), str(file)) for file in files)
    notes: dict[str, Any] = {}
    if (path / MTT_RATE).exists():
        files.append(path / MTT_RATE)
        notes["learning_rate"] = _number(load_torch(files[-1]), files[-1])
    return ForeignSet("mtt", files, images, labels, notes=notes)


def npz(path: Path) -> ForeignSet:
    """Reads images and labels of a .npz file; classes, mean and std if they are there.

    Args:
        path: the file, or the folder of an export of gmlight.
    """
    file = _file_in(path, "condensed.npz")
    arrays: dict[str, Any] = dict(load_arrays(file, _ENTRIES))
    for name in ("classes", "mean", "std"):
        if name in arrays:
            arrays[name] = arrays[name].tolist()
    for name, value in arrays.items():
        if isinstance(value, np.ndarray):
            arrays[name] = as_array_tensor(value, f"{file}: {name}")
    return read_entries(arrays, file, "npz")


def pt(path: Path) -> ForeignSet:
    """Reads a dictionary with images and labels; classes, mean and std if they are there.

    Args:
        path: the file, or the folder of an export of gmlight.
    """
    file = _file_in(path, "condensed.pt")
    return read_entries(load_torch(file), file, "pt")


def read_entries(content: Any, path: Path, layout: str) -> ForeignSet:
    """Reads the entries of a file that names them, as exports of gmlight do."""
    if not isinstance(content, Mapping):
        raise ConfigError(f"{path}: must be a dictionary with images and labels; try layout=auto")
    images, labels = (as_tensor(named(content, name, path), f"{path}: {name}") for name in _ENTRIES[:2])
    soft = content.get("soft_labels")
    found = ForeignSet(
        layout, [path], images, labels, None if soft is None else as_tensor(soft, f"{path}: soft_labels")
    )
    classes = content.get("classes")
    if classes is not None:
        if not (isinstance(classes, list | tuple) and all(isinstance(name, str) for name in classes)):
            raise ConfigError(f"{path}: classes must be a list of names")
        found = replace(found, classes=list(classes))
    if content.get("mean") is None or content.get("std") is None:
        return found
    mean, std = (_numbers(content[name], f"{path}: {name}") for name in ("mean", "std"))
    return replace(found, mean=mean, std=std, normalization="stated")


def _pair(content: Any, path: Path) -> tuple[Tensor, Tensor]:
    if not (isinstance(content, list | tuple) and len(content) == 2):
        raise ConfigError(f"{path}: must hold [images, labels]; name its layout by layout=, one of {LAYOUTS}")
    images, labels = (
        as_tensor(value, f"{path}: {name}") for value, name in zip(content, _ENTRIES, strict=False)
    )
    return images, labels


def _numbers(value: Any, what: str) -> list[float]:
    numbers = value.flatten().tolist() if isinstance(value, Tensor) and value.numel() < 100 else value
    if not (isinstance(numbers, list | tuple) and all(map(is_finite, numbers))):
        raise ConfigError(f"{what} must be a list of finite numbers")
    return [float(number) for number in numbers]


def _number(value: Any, path: Path) -> float:
    number = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
    if not is_finite(number):
        raise ConfigError(f"{path}: must be one number, the learning rate; remove the file to do without it")
    return float(number)


def _file_in(path: Path, name: str | None = None) -> Path:
    # The file itself, the named file in a folder, or the only one that torch.save may have written there.
    if not path.is_dir():
        return path
    if name is not None and (path / name).exists():
        return path / name
    files = [file for file in path.iterdir() if file.suffix in TORCH]
    if name is None and len(files) == 1:
        return files[0]
    wanted = name or f"one file, and {len(files)} are there"
    raise ConfigError(f"{path}: must have {wanted}; name the file itself")
