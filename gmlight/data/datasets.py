"""Dataset loaders: torchvision's datasets, scikit-learn's digits, and noise.

A loader is called with the data folder and whether it may download, and returns the train and the test split,
each as images uint8 [N, channels, H, W] and labels int64 [N]. A second function returns the class names if
the configuration does not list them. Where the files have numbers for labels, the configuration names them:
`names`, by number; `classes` are those to read, in the order of the labels, or None: all.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from gmlight.data.splits import Splits, first_line, select_classes, stratified, to_tensors
from gmlight.errors import ConfigError
from gmlight.runtime.answers import answers


@answers(chooses_classes=True)
def digits(
    root: str,
    download: bool,
    *,
    test_share: float,
    split_seed: int,
    names: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
) -> Splits:
    """Loads scikit-learn's 1,797 handwritten digits, 8x8, in a stratified split.

    Args:
        root: ignored; the digits come with scikit-learn.
        download: ignored.
        test_share: share of the images in the test split.
        split_seed: seed of the split, which does not depend on the chosen classes.
        names: of the digits.
        classes: those to load, in the order of the labels; None: all.

    Returns:
        Train and test split: images uint8 [N, 1, 8, 8], labels [N].
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(bunch.images * (255 / 16)).round().to(torch.uint8).unsqueeze(1)
    labels = torch.from_numpy(bunch.target).long()
    splits = stratified(images, labels, test_share, split_seed, list("0123456789"), tolerance=1)
    return select_classes(splits, names, classes)


def made_up(
    root: str, download: bool, *, number: int, images: int, size: Sequence[int], channels: int
) -> Splits:
    """Makes noise images, to measure time and memory.

    Args:
        root: ignored.
        download: ignored.
        number: number of classes.
        images: number of images of each class, in each split.
        size: [H, W].
        channels: number of channels.
    """
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(number).repeat_interleave(images)
    train, test = (
        torch.randint(256, (len(labels), channels, *size), generator=rng, dtype=torch.uint8) for _ in range(2)
    )
    return (train, labels), (test, labels)


def made_up_classes(root: str | None, *, number: int) -> list[str]:
    """Returns the class names of `made_up`: their numbers."""
    return [str(c) for c in range(number)]


@answers(chooses_classes=True)
def torchvision_splits(
    root: str,
    download: bool,
    *,
    dataset: Callable[..., Dataset],
    train: Mapping[str, Any],
    test: Mapping[str, Any],
    files: str,
    names: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
) -> Splits:
    """Loads the two splits of a torchvision dataset from `root`, after downloading them if needed.

    Args:
        root: the data folder.
        download: whether missing files may be downloaded.
        dataset: the torchvision class.
        train: keywords that choose the train split.
        test: keywords that choose the test split.
        files: pattern of the files under `root`, for error messages.
        names: of the classes, by the number that the files have.
        classes: those to load, in the order of the labels; None: all.

    Raises:
        ConfigError: the files are absent or damaged.
    """
    train_split, test_split = (_read(dataset, root, split, files, download) for split in (train, test))
    return select_classes((train_split, test_split), names, classes)


def _read(
    dataset: Callable[..., Dataset], root: str, split: Mapping[str, Any], files: str, download: bool
) -> tuple[Tensor, Tensor]:
    place = f"{Path(root).resolve()}/{files}"
    wanted = f"looked for {place}; put the files there or set data_dir to the folder that holds them"
    name = getattr(dataset, "__name__", str(dataset))
    try:
        return to_tensors(dataset(root, **split, download=False))
    except (RuntimeError, OSError, EOFError, ValueError, AssertionError) as error:
        if "not found" not in str(error):  # torchvision's message for a missing dataset
            damage = f"{name} is damaged ({first_line(error)})"
            raise ConfigError(f"{damage}: delete {place} and fetch it again") from None
    if not download:
        raise ConfigError(f"{name} is absent or incomplete: {wanted}")
    try:
        return to_tensors(dataset(root, **split, download=True))
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"{name} is absent and cannot be downloaded ({first_line(error)}): {wanted}"
        ) from None
