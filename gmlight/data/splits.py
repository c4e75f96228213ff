"""Train and test splits as uint8 tensors."""

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gmlight.errors import ConfigError

# (train, test), each as images uint8 [N, channels, H, W] and labels int64 [N].
Splits = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]


def stratified(images: Tensor, labels: Tensor, test_share: float, seed: int) -> Splits:
    """Splits images so that every class has the same share of test images.

    Args:
        images: uint8 [N, channels, H, W].
        labels: [N].
        test_share: share of the images in the test split, between 0 and 1.
        seed: of the draw.

    Raises:
        ConfigError: a class has too few images.
    """
    from sklearn.model_selection import train_test_split

    try:
        train, test = train_test_split(
            np.arange(len(labels)), test_size=test_share, stratify=labels.numpy(), random_state=seed
        )
    except ValueError as error:
        fewest = int(labels.bincount().min())
        raise ConfigError(
            f"the images cannot be split, the smallest class has {fewest} ({first_line(error)}); "
            "make train/ and test/ folders, or add images"
        ) from None
    return (images[train], labels[train]), (images[test], labels[test])


def pixels(picture: Image.Image) -> Tensor:
    """Converts a grey or RGB picture to uint8 [channels, H, W]."""
    values = torch.from_numpy(np.array(picture))  # [H, W] or [H, W, channels]
    return values.unsqueeze(0) if values.ndim == 2 else values.permute(2, 0, 1)


def to_tensors(dataset: Any) -> tuple[Tensor, Tensor]:
    """Reads a map-style dataset of (picture, label): images uint8 [N, channels, H, W] and labels [N]."""
    first = pixels(dataset[0][0])
    images, labels = allocate(len(dataset), *first.shape), torch.empty(len(dataset), dtype=torch.long)
    for i in range(len(dataset)):
        picture, labels[i] = dataset[i]
        images[i] = pixels(picture)
    return images, labels


def allocate(count: int, *shape: int) -> Tensor:
    """Allocates uint8 images [count, *shape].

    Raises:
        ConfigError: the machine has too little memory. Without this check the system might kill the process
            without a message.
    """
    needed = 2 * count * math.prod(shape)  # the images are copied once, to sort them by class
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise ConfigError(
            f"{count} images of {shape} need {needed / 2**30:.1f} GiB, "
            f"this machine has {memory / 2**30:.1f}; use smaller images (dataset.size) or fewer"
        )
    return torch.empty(count, *shape, dtype=torch.uint8)


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Computes mean and standard deviation per channel, of pixels in 0..1, rounded to four digits.

    Args:
        images: uint8 [N, channels, H, W].
    """
    values = torch.arange(256, dtype=torch.double) / 255
    mean, std = [], []
    for channel in range(images.shape[1]):
        shares = torch.bincount(images[:, channel].flatten(), minlength=256) / images[:, channel].numel()
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
