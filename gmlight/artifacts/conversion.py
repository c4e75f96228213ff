"""Converts a set of another program to a set of gmlight: checked, and normalised as its dataset."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gmlight.artifacts.decoding import Stored, formed
from gmlight.artifacts.foreign_labels import read_labels
from gmlight.artifacts.foreign_set import ForeignSet
from gmlight.artifacts.set_checks import LARGEST_DECODED, LARGEST_GROWTH
from gmlight.artifacts.value_checks import is_finite
from gmlight.data.images import DatasetInfo, LabelledImages
from gmlight.errors import ConfigError

_ROUNDING = 1e-3  # by which pixels may leave 0..1
_LARGEST = 1e6  # mean or std of pixels in 0..1


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each channel, of pixels in 0..1: pixels are image * std + mean.

    Args:
        mean: [channels].
        std: [channels].

    Raises:
        ConfigError: a value is not finite or too large, a std is not above 0, or their numbers differ.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not all(map(is_finite, (*self.mean, *self.std))):
            raise ConfigError("normalization: mean and std must be a finite number for each channel")
        if min(self.std, default=0) < 1 / _LARGEST or max(map(abs, (*self.mean, *self.std))) > _LARGEST:
            raise ConfigError(f"normalization: std must be above 0, and all values at most {_LARGEST:.0f}")

    @classmethod
    def of_pixels(cls, channels: int) -> "Statistics":
        """Those of pixels that are not normalised."""
        return cls((0.0,) * channels, (1.0,) * channels)


@dataclass(frozen=True)
class Converted:
    """A converted set, as `condensed_set.write` takes it.

    Args:
        images: the decoded images.
        stored: the form in which they are stored; None: as they are.
        ipc: stored images per class.
    """

    images: LabelledImages
    stored: Stored | None
    ipc: int


def convert(
    found: ForeignSet, info: DatasetInfo, source: Statistics, *, factor: int, logits: bool
) -> Converted:
    """Converts a set.

    Args:
        found: the set.
        info: of the dataset; its mean and std are those of the converted images.
        source: with which the images of the set are normalised.
        factor: number of parts along each side into which each image is cut; 1: images are not cut.
        logits: whether soft labels are logits, whose softmax is taken; otherwise they are probabilities.

    Raises:
        ConfigError: the set does not fit the dataset or the settings, or contradicts itself.
    """
    images = normalised(found.images, source, info)
    labels, soft = read_labels(found, info.classes, logits=logits)
    counts = labels.bincount(minlength=len(info.classes))
    if counts.min() != counts.max():
        least, most = int(counts.min()), int(counts.max())
        raise ConfigError(f"labels: classes have {least} to {most} images; all must have the same number")
    if factor == 1:
        return Converted(LabelledImages(images, labels, soft_labels=soft), None, int(counts[0]))
    return _formed(images, labels, soft, factor, info)


def _formed(images: Tensor, labels: Tensor, soft: Tensor | None, factor: int, info: DatasetInfo) -> Converted:
    # The form is stored by class.
    height, width = info.shape[1:]
    if height % factor or width % factor:
        raise ConfigError(
            f"factor={factor}: must divide {height}x{width}; with other factors IDC cuts in another way than "
            "gmlight"
        )
    if factor**2 > LARGEST_GROWTH and 4 * images.numel() * factor**2 > LARGEST_DECODED:
        raise ConfigError(f"factor={factor}: decodes to more than {LARGEST_GROWTH} times as much")
    order = torch.argsort(labels, stable=True)
    stored = Stored({"images": images[order]}, {"name": "multi_formation", "factor": factor})
    decoded, numbers = formed(stored, len(info.classes), info.mean, info.std)
    if soft is not None:
        soft = soft[order].repeat_interleave(factor**2, 0)
    floats = images.numel() + (0 if soft is None else soft.numel())
    ipc = len(images) // len(info.classes)
    return Converted(LabelledImages(decoded, numbers, floats, soft), stored, ipc)


def normalised(images: Tensor, source: Statistics, info: DatasetInfo) -> Tensor:
    """Normalises images as their dataset: unchanged if they are so already.

    Args:
        images: floats or uint8 [N, channels, H, W].
        source: with which they are normalised.
        info: of the dataset.

    Returns:
        float32, of the same shape.

    Raises:
        ConfigError: they have another type or shape, values are not finite, or pixels not in 0..1.
    """
    if images.ndim != 4 or tuple(images.shape[1:]) != info.shape or not len(images):
        raise ConfigError(
            f"images: are {list(images.shape)}; the dataset needs [N, {', '.join(map(str, info.shape))}]"
        )
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise ConfigError(f"images: must be floats or uint8, not {images.dtype}")
    floats = images.float() / 255 if images.dtype == torch.uint8 else images.float()
    if not floats.isfinite().all():
        raise ConfigError("images: must be finite")
    channels = info.shape[0]
    if len(source.mean) != channels:
        raise ConfigError(f"normalization: has {len(source.mean)} values for {channels} channels")
    least, most = floats.min().item(), floats.max().item()
    if source == Statistics.of_pixels(channels) and (least < -_ROUNDING or most > 1 + _ROUNDING):
        raise ConfigError(
            f"normalization=none: values are {least:.3g} to {most:.3g}, not pixels in 0..1; if they are "
            "normalised, use normalization=dc or dataset"
        )
    if source == Statistics(info.mean, info.std):
        return floats
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (source.mean, source.std))
    new_mean, new_std = (torch.tensor(values).view(-1, 1, 1) for values in (info.mean, info.std))
    changed = (floats * std + mean - new_mean) / new_std
    if not changed.isfinite().all():
        raise ConfigError("images: are too large for this normalization")
    return changed
