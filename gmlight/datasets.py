"""Datasets as they lie on disk, read into tensors.

A loader is called with the data folder and whether it may download, and returns the train and the test split,
each as images uint8 [N, channels, H, W] and labels int64 [N].
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from gmlight.errors import ConfigError

Splits = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]


def digits(root: str, download: bool, *, test_share: float, split_seed: int) -> Splits:
    """scikit-learn's 1,797 handwritten digits, 8x8, in a fixed stratified split into train and test.

    They come with the installation: root and download play no part.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    images = torch.from_numpy(bunch.images * (255 / 16)).round().to(torch.uint8).unsqueeze(1)
    labels = torch.from_numpy(bunch.target).long()
    train, test = train_test_split(
        np.arange(len(labels)), test_size=test_share, stratify=bunch.target, random_state=split_seed
    )
    return (images[train], labels[train]), (images[test], labels[test])


def torchvision_splits(
    root: str,
    download: bool,
    *,
    dataset: Callable[..., Dataset],
    train: Mapping[str, Any],
    test: Mapping[str, Any],
    files: str,
) -> Splits:
    """The two splits of a torchvision dataset, looked for in `root`, else downloaded to it.

    Args:
        root: the data folder.
        download: whether to fetch what is not there.
        dataset: the torchvision class.
        train, test: the keywords that choose the split.
        files: where the files lie under `root`, for the message when they are missing.
    """
    train_split, test_split = (_read(dataset, root, split, files, download) for split in (train, test))
    return train_split, test_split


def _read(
    dataset: Callable[..., Dataset], root: str, split: Mapping[str, Any], files: str, download: bool
) -> tuple[Tensor, Tensor]:
    place = f"{Path(root).resolve()}/{files}"
    wanted = f"looked for {place}; put the files there or set data_dir to the folder that holds them"
    name = getattr(dataset, "__name__", str(dataset))
    try:
        return _to_tensors(dataset(root, **split, download=False))
    except (RuntimeError, OSError, EOFError, ValueError, AssertionError) as error:
        if "not found" not in str(error):  # torchvision's word for absent
            damage = f"{name} is damaged ({_first_line(error)})"
            raise ConfigError(f"{damage}: delete {place} and fetch it again") from None
    if not download:
        raise ConfigError(f"{name} is absent: {wanted}")
    try:
        return _to_tensors(dataset(root, **split, download=True))
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"{name} is absent and cannot be downloaded ({_first_line(error)}): {wanted}"
        ) from None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _to_tensors(dataset: Any) -> tuple[Tensor, Tensor]:
    images = torch.empty(0)
    labels = torch.empty(len(dataset), dtype=torch.long)
    for i in range(len(dataset)):
        picture, labels[i] = dataset[i]
        pixels = torch.from_numpy(np.array(picture))  # [H, W] or [H, W, channels]
        if i == 0:
            channels = 1 if pixels.ndim == 2 else pixels.shape[2]
            images = torch.empty(len(dataset), channels, *pixels.shape[:2], dtype=torch.uint8)
        images[i] = pixels if pixels.ndim == 2 else pixels.permute(2, 0, 1)
    return images, labels
