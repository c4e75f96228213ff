"""Tensor transforms of a batch of normalised images while a network trains on it.

An augmentation takes images [N, channels, H, W] and a CPU generator and returns as many images.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, pad

from gmlight.runtime.seeding import to_device

Augmentation = Callable[[Tensor, torch.Generator], Tensor]

CROP, SCALE, ROTATE = range(3)


@dataclass(frozen=True)
class CutMix:
    """Pastes a rectangle of another image of the batch into each, and mixes the labels by area.

    Yun et al., "CutMix", ICCV 2019. The area, before what sticks out is cut off, is uniform in 0..1
    (their alpha = 1).

    Args:
        probability: of a batch to be mixed at all.
    """

    probability: float

    def __call__(self, images: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor, float]:
        """Images [N, channels, H, W] as mixed; whose label is the other one, [N]; the share of the own."""
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
    """The images as they are."""
    return images


def crop_scale_rotate(
    images: Tensor, rng: torch.Generator, *, padding: int, scale: tuple[float, float], degrees: int
) -> Tensor:
    """Each image gets one of `crop`, `rescale` and `rotate`, drawn at random with its amount.

    Args:
        padding: the crop shifts by -padding..padding-1 pixels in each direction.
        scale: least and greatest factor, of height and width independently.
        degrees: the rotation is a whole number of degrees in [-degrees, degrees).
    """
    count = len(images)
    kind = torch.randint(3, (count,), generator=rng)
    offsets = to_device(torch.randint(2 * padding, (count, 2), generator=rng), images.device)
    factors = to_device(torch.empty(count, 2).uniform_(*scale, generator=rng), images.device)
    angles = to_device(torch.randint(-degrees, degrees, (count,), generator=rng), images.device)

    fill = images.mean((0, 2, 3))  # the batch's mean, per channel
    result = images.clone()
    for which, transform, amounts in (
        (CROP, lambda chosen, amount: crop(chosen, amount, padding, fill), offsets),
        (SCALE, rescale, factors),
        (ROTATE, lambda chosen, amount: rotate(chosen, amount, fill.mean()), angles),
    ):
        chosen = (kind == which).nonzero().squeeze(1)  # on the CPU: its length is known without waiting
        if len(chosen):
            chosen = to_device(chosen, images.device)
            result[chosen] = transform(images[chosen], amounts[chosen])
    return result


def crop_or_noise(images: Tensor, rng: torch.Generator, *, padding: int, noise: float) -> Tensor:
    """Each image gets a `crop` as in `crop_scale_rotate` or noise of N(0, noise^2), drawn at random.

    For evaluating networks with batch norm, whose statistics a few images seen again and again would ruin.
    """
    count = len(images)
    cropped = to_device(torch.randint(2, (count,), generator=rng).bool(), images.device).view(-1, 1, 1, 1)
    offsets = to_device(torch.randint(2 * padding, (count, 2), generator=rng), images.device)
    noisy = images + noise * to_device(torch.randn(images.shape, generator=rng), images.device).to(
        images.dtype
    )
    return torch.where(cropped, crop(images, offsets, padding, images.mean((0, 2, 3))), noisy)


def crop(images: Tensor, offsets: Tensor, padding: int, fill: Tensor) -> Tensor:
    """Pads with `fill` [channels] and cuts the old size out at offsets [N, 2] (down, right)."""
    height, width = images.shape[2:]
    background = fill.view(-1, 1, 1)
    padded = pad(images - background, [padding] * 4) + background
    rows = offsets[:, 0, None] + torch.arange(height, device=images.device)  # [N, H]
    columns = offsets[:, 1, None] + torch.arange(width, device=images.device)  # [N, W]
    return _take(padded, rows, columns)


def rescale(images: Tensor, factors: Tensor) -> Tensor:
    """Resizes to floor(factor * size), nearest, factors [N, 2]; centred on zeros or cut to the old size."""
    rows, inside_rows = _nearest(factors[:, 0], images.shape[2])
    columns, inside_columns = _nearest(factors[:, 1], images.shape[3])
    inside = inside_rows.unsqueeze(2) & inside_columns.unsqueeze(1)  # [N, H, W]
    return _take(images, rows, columns) * inside.unsqueeze(1)


def rotate(images: Tensor, degrees: Tensor, fill: Tensor) -> Tensor:
    """Turns each image counter-clockwise about its centre by degrees [N], bilinear, on a ground of `fill`."""
    radians = degrees.to(images.dtype).deg2rad()
    cos, sin, zero = radians.cos(), radians.sin(), torch.zeros_like(radians)
    ratio = images.shape[2] / images.shape[3]  # the grid's units are half a height and half a width
    turn = torch.stack([cos, -sin * ratio, zero, sin / ratio, cos, zero], 1).view(-1, 2, 3)
    grid = affine_grid(turn, list(images.shape), align_corners=False)
    return grid_sample(images - fill, grid, align_corners=False) + fill


def _nearest(factors: Tensor, size: int) -> tuple[Tensor, Tensor]:
    # Where each pixel of the result comes from, and whether it lies inside the resized image: [N, size] each.
    resized = (factors * size).floor().long().clamp_min(1).unsqueeze(1)  # [N, 1]
    margin = (resized - size).clamp_min(0) // 2 - (size - resized).clamp_min(0) // 2
    position = torch.arange(size, device=factors.device) + margin
    inside = (position >= 0) & (position < resized)
    return (position * size // resized).clamp(0, size - 1), inside


def _take(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    # images [N, channels, H, W] at rows [N, h] and columns [N, w] -> [N, channels, h, w]
    which = torch.arange(len(images), device=images.device).view(-1, 1, 1)
    return images.permute(0, 2, 3, 1)[which, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)
