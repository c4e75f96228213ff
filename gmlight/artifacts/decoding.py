"""From what is stored of a synthetic set to its images, in plain tensors: who reads one needs no more."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate


@dataclass(frozen=True)
class Stored:
    """What is kept of a synthetic set: tensors by name, and the form that says how images come of them."""

    tensors: dict[str, Tensor]
    form: dict[str, Any]


def formed(
    stored: Stored, classes: int, mean: Sequence[float], std: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """The images that come of what is stored, [N, channels, H, W], and their labels [N].

    Raises:
        KeyError: no such form, or a tensor is missing.
    """
    name, tensors = stored.form["name"], stored.tensors
    if name == "pixels":
        return tensors["images"], tensors["labels"]
    if name == "multi_formation":
        images = multi_formed(tensors["images"].unflatten(0, (classes, -1)), stored.form["factor"])
    elif name == "shared_components":
        of_channels = (tensors["components"].new_tensor(values) for values in (mean, std))
        images = composed(tensors["components"], tensors["weights"], *of_channels)
    else:
        raise KeyError(name)
    return images.flatten(0, 1), torch.arange(classes).repeat_interleave(images.shape[1])


def multi_formed(stored: Tensor, factor: int) -> Tensor:
    """[C, ipc, channels, H, W] -> [C, ipc * factor^2, channels, H, W]."""
    height, width = stored.shape[-2:]
    flat = stored.flatten(0, 1)
    formed = [
        interpolate(flat[..., rows, columns], (height, width), mode="bilinear", align_corners=False)
        for rows, columns in parts(height, width, factor)
    ]
    return torch.stack(formed, 1).unflatten(0, stored.shape[:2]).flatten(1, 2)


def composed(components: Tensor, weights: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """[C, p, channels, H, W], [C, n, p], [channels] twice -> normalised images [C, n, channels, H, W]."""
    sums = torch.einsum("cnp,cpkhw->cnkhw", weights, components)
    shape = (-1, 1, 1)
    return (sums.sigmoid() - mean.view(shape)) / std.view(shape)


def parts(height: int, width: int, factor: int) -> list[tuple[slice, slice]]:
    """Rows and columns of each part of an image that is cut into factor x factor, row after row."""

    def cuts(size: int) -> list[slice]:
        ends = [-(-size * i // factor) for i in range(factor + 1)]
        return [slice(*pair) for pair in itertools.pairwise(ends)]

    return [(rows, columns) for rows in cuts(height) for columns in cuts(width)]
