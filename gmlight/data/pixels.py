"""Conversion of pictures, arrays and tensors to uint8 [N, channels, H, W], and of labels to int64 [N]."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gmlight.data.pictures import flatten, pixels
from gmlight.errors import ConfigError

CHANNELS = (1, 3)  # grey, colour


def picture_to_pixels(picture: Any, what: str) -> Tensor:
    """Converts one image to uint8 [channels, H, W].

    Args:
        picture: a PIL image; or an array or tensor, uint8 or float in 0..1, [H, W] or with 1 or 3 channels
            first or last.
        what: name of the image, for messages.

    Raises:
        ConfigError: the image has another type, shape or range.
    """
    if isinstance(picture, Image.Image):
        grey = picture.mode in ("1", "L", "LA", "La") or picture.mode.startswith("I;16")
        try:
            return pixels(flatten(picture, "L" if grey else "RGB"))
        except ValueError as error:
            raise ConfigError(f"{what}: {error}") from None
    tensor, channels_last = _tensor(picture, what)
    if tensor.ndim == 2:
        tensor = tensor.unsqueeze(0)
    if tensor.ndim != 3:
        raise ConfigError(f"{what}: has the shape {tuple(tensor.shape)}; must be [channels, H, W] or [H, W]")
    return _in_bytes(_channels_first(tensor.unsqueeze(0), channels_last, what), what)[0]


def to_pixels(images: Any, name: str) -> Tensor:
    """Converts all images to uint8 [N, channels, H, W].

    Args:
        images: an array or tensor, uint8 or float in 0..1, [N, H, W] or with 1 or 3 channels first or last.
        name: name of the split, for messages.

    Raises:
        ConfigError: the images have another type, shape or range.
    """
    what = f"{name}: images"
    tensor, channels_last = _tensor(images, what)
    if tensor.ndim == 3:  # grey
        tensor, channels_last = tensor.unsqueeze(1), False
    if tensor.ndim != 4:
        shape = tuple(tensor.shape)
        raise ConfigError(f"{what}: have the shape {shape}; must be [N, channels, H, W] or [N, H, W]")
    return _in_bytes(_channels_first(tensor, channels_last, what), what)


def _tensor(images: Any, what: str) -> tuple[Tensor, bool]:
    # Returns a CPU tensor, and whether channels come last if the shape does not tell.
    if isinstance(images, Tensor):
        return images.detach().cpu(), False
    try:
        array = np.asarray(images)
        return torch.from_numpy(np.require(array, requirements=["C", "W"])), True  # a copy if read-only
    except (TypeError, ValueError):
        raise ConfigError(
            f"{what}: {type(images).__name__} cannot be read; give a PIL image, an array or a tensor"
        ) from None


def _channels_first(images: Tensor, channels_last: bool, what: str) -> Tensor:
    first, last = images.shape[1] in CHANNELS, images.shape[3] in CHANNELS
    if not first and not last:
        shape = tuple(images.shape)
        raise ConfigError(f"{what}: the shape {shape} has no 1 or 3 channels, neither first nor last")
    return images.permute(0, 3, 1, 2) if last and (channels_last or not first) else images


def _in_bytes(images: Tensor, what: str) -> Tensor:
    if images.dtype == torch.uint8:
        return images.contiguous()
    if not images.is_floating_point():
        raise ConfigError(f"{what}: {_kind(images)} values; give uint8, or float in 0..1")
    if not images.numel():
        return images.byte()
    least, most = images.min().item(), images.max().item()
    if not (least >= 0 and most <= 1):  # also true for nan
        advice = "divide them by 255" if least >= 0 and 1 < most <= 255 else "give them before normalisation"
        raise ConfigError(f"{what}: float values from {least:.3g} to {most:.3g}; must be in 0..1: {advice}")
    return (images * 255).round().byte().contiguous()


def to_labels(labels: Any, name: str) -> Tensor:
    """Converts all labels to int64 [N].

    Args:
        labels: whole numbers, [N].
        name: name of the split, for messages.

    Raises:
        ConfigError: the labels have another type or shape.
    """
    tensor, _ = _tensor(labels, f"{name}: labels")
    if tensor.ndim != 1:
        raise ConfigError(f"{name}: labels have the shape {tuple(tensor.shape)}; must be [N]")
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise ConfigError(f"{name}: labels are {_kind(tensor)}; must be whole numbers")
    return tensor.long()


def to_label(label: Any, what: str) -> int:
    """Converts one label to an int.

    Args:
        label: a whole number, also as a tensor or array [].
        what: name of the label, for messages.

    Raises:
        ConfigError: the label is not a whole number.
    """
    if isinstance(label, Tensor | np.ndarray) and label.ndim == 0:
        label = label.item()
    if isinstance(label, bool) or not isinstance(label, int | np.integer):
        raise ConfigError(f"{what}: is {label!r}; must be a whole number")
    return int(label)


def shape_name(shape: Sequence[int]) -> str:
    """Formats a shape: `3x32x32`."""
    return "x".join(map(str, shape))


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
