"""Augmentation: tensor transforms of a batch of normalised images while a network trains on it.

An augmentation takes images [N, channels, H, W] and a CPU generator, and returns images of the same shape.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, pad

from gmlight.data.resampling import resample
from gmlight.runtime.seeding import to_device

Augmentation = Callable[[Tensor, torch.Generator], Tensor]

CROP, SCALE, ROTATE = range(3)


@runtime_checkable
class NamedAugmentation(Protocol):
    """An augmentation that names its protocol and says whether it applies during matching."""

    @property
    def protocol(self) -> str:
        """Name of the evaluation protocol that networks trained with it follow."""

    @property
    def while_matching(self) -> bool:
        """Whether it also transforms real and synthetic images while their gradients are matched."""

    def __call__(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Transforms images [N, channels, H, W]."""


@dataclass(frozen=True)
class TrainingAugmentation:
    """Wraps a function that augments training batches only.

    Args:
        transform: the function, or a partial of it.
    """

    transform: Augmentation

    @property
    def protocol(self) -> str:
        """Name of the function."""
        transform = self.transform
        function = transform.func if isinstance(transform, functools.partial) else transform
        return getattr(function, "__name__", type(function).__name__)

    @property
    def while_matching(self) -> bool:
        """False: images that are matched are not transformed."""
        return False

    def __call__(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Transforms images [N, channels, H, W]."""
        return self.transform(images, rng)


def as_augmentation(augmentation: NamedAugmentation | Augmentation) -> NamedAugmentation:
    """Wraps a function as a `NamedAugmentation`; a `NamedAugmentation` is returned unchanged."""
    return augmentation if isinstance(augmentation, NamedAugmentation) else TrainingAugmentation(augmentation)


@dataclass(frozen=True)
class CutMix:
    """Pastes a rectangle of another image of the batch into each image, and mixes the labels by area.

    Yun et al., "CutMix", ICCV 2019. The area is uniform in 0..1 (their alpha = 1), before the part outside of
    the image is cut off.

    Args:
        probability: probability that a batch is mixed.
    """

    probability: float

    def __call__(self, images: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor, float]:
        """Mixes a batch.

        Args:
            images: [N, channels, H, W].
            rng: CPU generator.

        Returns:
            The mixed images [N, channels, H, W], the index of the image pasted into each [N], and the share
            of the area that is not pasted.
        """
        order = torch.randperm(len(images), generator=rng)
        drawn, area, down, right = torch.rand(4, generator=rng).tolist()
        if drawn >= self.probability:
            return images, order, 1.0
        height, width = images.shape[2:]
        rows = _rectangle(down, area, height)
        columns = _rectangle(right, area, width)
        mixed = images.clone()
        mixed[:, :, rows, columns] = images[to_device(order, images.device)][:, :, rows, columns]
        pasted = (rows.stop - rows.start) * (columns.stop - columns.start)
        return mixed, order, 1 - pasted / (height * width)


def _rectangle(centre: float, area: float, size: int) -> slice:
    middle, side = int(centre * size), int(area**0.5 * size)
    return slice(max(0, middle - side // 2), min(size, middle + side // 2))


def none(images: Tensor, rng: torch.Generator) -> Tensor:
    """Returns the images unchanged."""
    return images


def crop_scale_rotate(
    images: Tensor, rng: torch.Generator, *, padding: int, scale: tuple[float, float], degrees: int
) -> Tensor:
    """Applies one of `crop`, `rescale` and `rotate` to each image, chosen at random with its amount.

    Args:
        images: [N, channels, H, W].
        rng: CPU generator.
        padding: the crop shifts by -padding..padding-1 pixels in each direction.
        scale: smallest and largest factor, drawn for height and width independently.
        degrees: the rotation is a whole number of degrees in [-degrees, degrees).
    """
    count = len(images)
    kind = torch.randint(3, (count,), generator=rng)
    offsets = to_device(torch.randint(2 * padding, (count, 2), generator=rng), images.device)
    factors = to_device(torch.empty(count, 2).uniform_(*scale, generator=rng), images.device)
    angles = to_device(torch.randint(-degrees, degrees, (count,), generator=rng), images.device)

    fill = images.mean((0, 2, 3))  # mean of the batch, [channels]
    result = images.clone()
    for index, transform, amounts in (
        (CROP, lambda chosen, amount: crop(chosen, amount, padding, fill), offsets),
        (SCALE, rescale, factors),
        (ROTATE, lambda chosen, amount: rotate(chosen, amount, fill.mean()), angles),
    ):
        chosen = (kind == index).nonzero().squeeze(1)  # on the CPU, so its length is known at once
        if len(chosen):
            chosen = to_device(chosen, images.device)
            result[chosen] = transform(images[chosen], amounts[chosen])
    return result


def crop_or_noise(images: Tensor, rng: torch.Generator, *, padding: int, noise: float) -> Tensor:
    """Applies a `crop` as in `crop_scale_rotate`, or noise, to each image, chosen at random.

    Use it to evaluate networks with batch norm, whose statistics degrade if a few images never change.

    Args:
        images: [N, channels, H, W].
        rng: CPU generator.
        padding: the crop shifts by -padding..padding-1 pixels in each direction.
        noise: standard deviation of the noise, in normalised space.
    """
    count = len(images)
    cropped = to_device(torch.randint(2, (count,), generator=rng).bool(), images.device).view(-1, 1, 1, 1)
    offsets = to_device(torch.randint(2 * padding, (count, 2), generator=rng), images.device)
    noisy = images + noise * to_device(torch.randn(images.shape, generator=rng), images.device).to(
        images.dtype
    )
    return torch.where(cropped, crop(images, offsets, padding, images.mean((0, 2, 3))), noisy)


def crop(images: Tensor, offsets: Tensor, padding: int, fill: Tensor) -> Tensor:
    """Pads each image and cuts the original size out of it.

    Args:
        images: [N, channels, H, W].
        offsets: where to cut, in pixels (down, right), [N, 2].
        padding: pixels on each side.
        fill: value of the padding, [channels].
    """
    height, width = images.shape[2:]
    background = fill.view(-1, 1, 1)
    padded = pad(images - background, [padding] * 4) + background
    rows = offsets[:, 0, None] + torch.arange(height, device=images.device)  # [N, H]
    columns = offsets[:, 1, None] + torch.arange(width, device=images.device)  # [N, W]
    return _take(padded, rows, columns)


def rescale(images: Tensor, factors: Tensor) -> Tensor:
    """Resizes each image by nearest neighbour, and centres it on zeros or cuts it to the original size.

    Args:
        images: [N, channels, H, W].
        factors: of height and width, [N, 2]; the new size is floor(factor * size).
    """
    rows, inside_rows = _nearest(factors[:, 0], images.shape[2])
    columns, inside_columns = _nearest(factors[:, 1], images.shape[3])
    inside = inside_rows.unsqueeze(2) & inside_columns.unsqueeze(1)  # [N, H, W]
    return _take(images, rows, columns) * inside.unsqueeze(1)


def rotate(images: Tensor, degrees: Tensor, fill: Tensor) -> Tensor:
    """Rotates each image counter-clockwise about its centre, with bilinear interpolation.

    Args:
        images: [N, channels, H, W].
        degrees: [N].
        fill: value outside of the image, a scalar.
    """
    radians = degrees.to(images.dtype).deg2rad()
    cos, sin, zero = radians.cos(), radians.sin(), torch.zeros_like(radians)
    ratio = images.shape[2] / images.shape[3]  # the grid's units are half the height and half the width
    rotation = torch.stack([cos, -sin * ratio, zero, sin / ratio, cos, zero], 1).view(-1, 2, 3)
    grid = affine_grid(rotation, list(images.shape), align_corners=False)
    return resample(images - fill, grid) + fill


def _nearest(factors: Tensor, size: int) -> tuple[Tensor, Tensor]:
    # Returns the source of each pixel, and whether it lies inside the resized image: [N, size] each.
    resized = (factors * size).floor().long().clamp_min(1).unsqueeze(1)  # [N, 1]
    margin = (resized - size).clamp_min(0) // 2 - (size - resized).clamp_min(0) // 2
    position = torch.arange(size, device=factors.device) + margin
    inside = (position >= 0) & (position < resized)
    return (position * size // resized).clamp(0, size - 1), inside


def _take(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    # images [N, channels, H, W] at rows [N, h] and columns [N, w] -> [N, channels, h, w]
    numbers = torch.arange(len(images), device=images.device).view(-1, 1, 1)
    gathered = images.permute(0, 2, 3, 1)[numbers, rows.unsqueeze(2), columns.unsqueeze(1)]
    # Left in this order of memory, convolutions on a CPU would take two to four times as long.
    return gathered.permute(0, 3, 1, 2).contiguous()
