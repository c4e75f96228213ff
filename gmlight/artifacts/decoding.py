"""Decodes the stored tensors of a synthetic set to images."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate


@dataclass(frozen=True)
class Stored:
    """The stored form of a synthetic set.

    Args:
        tensors: the stored tensors, by name.
        form: how to decode them: `name`, and options of the form; plain containers.
    """

    tensors: dict[str, Tensor]
    form: dict[str, Any]


def formed(
    stored: Stored, classes: int, mean: Sequence[float], std: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Decodes a stored set.

    Args:
        stored: the stored set; its images are sorted by class unless its form is `pixels`.
        classes: number of classes, C.
        mean: per channel, of pixels in 0..1.
        std: per channel, of pixels in 0..1.

    Returns:
        Images [N, channels, H, W] and their labels [N].

    Raises:
        KeyError: the form is unknown, or a tensor is missing.
    """
    name, tensors = stored.form["name"], stored.tensors
    if name == "pixels":
        return tensors["images"], tensors["labels"]
    if name == "multi_formation":
        images = multi_formed(tensors["images"].unflatten(0, (classes, -1)), stored.form["factor"])
    elif name == "shared_components":
        statistics = (tensors["components"].new_tensor(values) for values in (mean, std))
        images = composed(tensors["components"], tensors["weights"], *statistics)
    else:
        raise KeyError(name)
    return images.flatten(0, 1), torch.arange(classes).repeat_interleave(images.shape[1])


def decoded_shape(stored: Stored, classes: int) -> tuple[int, int, int, int]:
    """Returns the shape to which `formed` decodes a stored set, [N, channels, H, W], without decoding it.

    Args:
        stored: the stored set; its tensors have their numbers of dimensions.
        classes: number of classes, C.

    Raises:
        ValueError: the tensors do not fit each other, the form or the number of classes.
    """
    name, tensors = stored.form["name"], stored.tensors
    if name == "shared_components":
        (c, p, *shape), weights = tensors["components"].shape, tensors["weights"].shape
        if c != classes or weights[0] != classes or weights[2] != p:
            raise ValueError(
                f"components of {c} classes and weights {list(weights)} do not fit {classes} classes"
            )
        return (classes * weights[1], *shape)  # type: ignore[return-value]
    number, *shape = tensors["images"].shape
    if name == "multi_formation":
        factor = stored.form["factor"]
        if factor > min(shape[1:]):
            raise ValueError(f"factor {factor} is larger than the images")
        if number % classes:
            raise ValueError(f"{number} images are not equally many of {classes} classes")
        number *= factor**2
    return (number, *shape)  # type: ignore[return-value]


def multi_formed(stored: Tensor, factor: int) -> Tensor:
    """Cuts each image into factor x factor parts and enlarges each part to an image.

    Args:
        stored: [C, ipc, channels, H, W].
        factor: number of parts along each side.

    Returns:
        Images [C, ipc * factor^2, channels, H, W].
    """
    height, width = stored.shape[-2:]
    flat = stored.flatten(0, 1)
    formed = [
        interpolate(flat[..., rows, columns], (height, width), mode="bilinear", align_corners=False)
        for rows, columns in parts(height, width, factor)
    ]
    return torch.stack(formed, 1).unflatten(0, stored.shape[:2]).flatten(1, 2)


def composed(components: Tensor, weights: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Mixes components to images whose pixels are in 0..1, and normalises them.

    Args:
        components: p components per class, [C, p, channels, H, W].
        weights: of the components in each of n images per class, [C, n, p].
        mean: [channels], of pixels in 0..1.
        std: [channels], of pixels in 0..1.

    Returns:
        Normalised images [C, n, channels, H, W].
    """
    sums = torch.einsum("cnp,cpkhw->cnkhw", weights, components)
    shape = (-1, 1, 1)
    return (sums.sigmoid() - mean.view(shape)) / std.view(shape)


def parts(height: int, width: int, factor: int) -> list[tuple[slice, slice]]:
    """Returns the rows and columns of each part of an image cut into factor x factor, row after row."""

    def cuts(size: int) -> list[slice]:
        ends = [-(-size * i // factor) for i in range(factor + 1)]
        return [slice(*pair) for pair in itertools.pairwise(ends)]

    return [(rows, columns) for rows in cuts(height) for columns in cuts(width)]
