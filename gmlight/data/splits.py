"""Train and test splits as uint8 tensors."""

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gmlight.data.pictures import pixels
from gmlight.errors import ConfigError
from gmlight.runtime.console import new_console
from gmlight.runtime.progress import show_progress
from gmlight.runtime.seeding import generator

# (train, test), each as images uint8 [N, channels, H, W] and labels int64 [N].
Splits = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]
# The same, and lines about what was found, or passed over.
NotedSplits = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], Sequence[str]]


def stratified(
    images: Tensor,
    labels: Tensor,
    test_share: float,
    seed: int,
    classes: Sequence[str],
    *,
    tolerance: int = 0,
) -> Splits:
    """Splits the images of each class: of n images, `round(test_share * n)` are tested.

    At least one image of each class is tested, and at least one is not.

    Args:
        images: uint8 [N, channels, H, W].
        labels: [N].
        test_share: share of the images in the test split, between 0 and 1.
        seed: of the draw.
        classes: class names, for messages.
        tolerance: images by which scikit-learn's split may differ from this in a class. It rounds the number
            of all test images, and is used where it fits.

    Raises:
        ConfigError: the share is not between 0 and 1, or a class has only one image.
    """
    if not 0 < test_share < 1:
        raise ConfigError(
            f"dataset.load.test_share={test_share}: the share of images to test must be between 0 and 1"
        )
    counts = labels.bincount(minlength=len(classes))
    if (counts == 1).any():
        name = classes[int((counts == 1).nonzero()[0])]
        raise ConfigError(f"class {name!r} has one image, which cannot be trained on and tested; add images")
    tested = torch.tensor([min(max(1, round(test_share * n)), n - 1) if n else 0 for n in counts.tolist()])
    train, test = _scikit_split(labels, test_share, seed)
    found = labels[test].bincount(minlength=len(classes))
    one_of_each = ((found > 0) & (found < counts))[counts > 0].all()
    if not one_of_each or (found - tested).abs().max() > tolerance:
        train, test = _draw_split(labels, tested, counts, seed)
    return (images[train], labels[train]), (images[test], labels[test])


def _scikit_split(labels: Tensor, test_share: float, seed: int) -> tuple[Tensor, Tensor]:
    from sklearn.model_selection import train_test_split

    everything = np.arange(len(labels))
    try:
        split = train_test_split(everything, test_size=test_share, stratify=labels.numpy(), random_state=seed)
    except ValueError:  # the smallest class is too small for it
        split = everything, everything[:0]
    train, test = map(torch.from_numpy, split)
    return train, test


def _draw_split(labels: Tensor, tested: Tensor, counts: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    rng = generator(seed, "split")
    is_test = torch.zeros(len(labels), dtype=torch.bool)
    for of_class, number in zip(
        labels.argsort(stable=True).split(counts.tolist()), tested.tolist(), strict=True
    ):
        is_test[of_class[torch.randperm(len(of_class), generator=rng)[:number]]] = True
    return (~is_test).nonzero()[:, 0], is_test.nonzero()[:, 0]


def select_classes(splits: Splits, names: Sequence[str] | None, chosen: Sequence[str] | None) -> Splits:
    """Keeps the images of the chosen classes.

    Args:
        splits: with labels that index `names`.
        names: of all classes; None: unknown, and all are kept.
        chosen: names, in the order of the new labels; None: all.

    Returns:
        The splits; images stay in their order.

    Raises:
        ConfigError: there are more labels than names.
    """
    if names is None or chosen is None or list(names) == list(chosen):
        return splits
    if (greatest := max(int(labels.max()) for _, labels in splits)) >= len(names):
        raise ConfigError(f"dataset.load.names: {len(names)} names, but the files have a class {greatest}")
    numbers = torch.full((len(names),), -1)
    numbers[[names.index(name) for name in chosen]] = torch.arange(len(chosen))

    def select(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        renumbered = numbers[labels]
        kept = renumbered >= 0
        return images[kept], renumbered[kept]

    train, test = splits
    return select(*train), select(*test)


def to_tensors(dataset: Any) -> tuple[Tensor, Tensor]:
    """Reads a map-style dataset of (picture, label): images uint8 [N, channels, H, W] and labels [N]."""
    first = pixels(dataset[0][0])
    check_memory(len(dataset), *first.shape)
    images = torch.empty(len(dataset), *first.shape, dtype=torch.uint8)
    labels = torch.empty(len(dataset), dtype=torch.long)
    with show_progress("reading images", "image", len(dataset), new_console()) as show:
        for i in range(len(dataset)):
            show(i)
            picture, labels[i] = dataset[i]
            images[i] = pixels(picture)
    return images, labels


def check_memory(count: int, *shape: int) -> None:
    """Checks that uint8 images [count, *shape] fit into memory, or else the system might kill the process.

    Raises:
        ConfigError: the machine has too little memory.
    """
    needed = 2 * count * math.prod(shape)  # the images are copied once, to sort them by class
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise ConfigError(
            f"{count} images of {shape} need {needed / 2**30:.1f} GiB, "
            f"this machine has {memory / 2**30:.1f}; use smaller images (dataset.size) or fewer"
        )


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Computes mean and standard deviation per channel, of pixels in 0..1, rounded to four digits.

    Args:
        images: uint8 [N, channels, H, W].
    """
    values = torch.arange(256, dtype=torch.double) / 255
    mean, std = [], []
    for channel in range(images.shape[1]):
        # In parts, since bincount needs 8 bytes a pixel.
        counts = sum(torch.bincount(part.flatten(), minlength=256) for part in images[:, channel].split(4096))
        shares = counts / images[:, channel].numel()
        mean.append(round((shares * values).sum().item(), 4))
        std.append(round((shares * (values - mean[-1]).square()).sum().sqrt().item(), 4))
    return tuple(mean), tuple(std)


def check_images(images: Tensor, labels: Tensor, classes: Sequence[str], shape: tuple[int, ...]) -> None:
    """Checks that a split fits the class names and the image shape.

    Args:
        images: required to be uint8 [N, *shape].
        labels: required to be [N], each a position in `classes`.
        classes: class names.
        shape: (channels, H, W).

    Raises:
        ConfigError: the images have another type or shape, or a label has no class name.
    """
    if images.dtype != torch.uint8:
        raise ConfigError(f"the images are {images.dtype}, they must be torch.uint8, 0 to 255")
    if tuple(images.shape[1:]) != shape:
        raise ConfigError(
            f"the images are {tuple(images.shape[1:])}, but dataset.channels and dataset.size say {shape}"
        )
    if len(labels) != len(images):
        raise ConfigError(f"there are {len(images)} images and {len(labels)} labels; each image needs one")
    if labels.min() < 0 or labels.max() >= len(classes):
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise ConfigError(f"a label is {int(wrong)}, dataset.classes names {len(classes)} classes")


def first_line(error: Exception) -> str:
    """Returns the first line of an error's message, or its type if it has none."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
