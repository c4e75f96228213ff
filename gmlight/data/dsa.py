"""Differentiable Siamese augmentation: the same transform for the real and the synthetic images of a class.

Zhao and Bilen, "Dataset Condensation with Differentiable Siamese Augmentation", ICML 2021, section 3.2; what
that leaves open is as in its authors' release. All transforms work in normalised space, where what is filled
in is 0, and every one can be differentiated with respect to the images.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from gmlight.data.augmentation import crop, rotate
from gmlight.data.images import ByLabel
from gmlight.runtime.seeding import generator, to_device

DRAWN = 3  # numbers in [0, 1) that the transform with the most amounts takes


@dataclass(frozen=True)
class Siamese:
    """One of the transforms, drawn at random with its amounts.

    Called as an `augmentation.Augmentation` it draws one transform for a batch, and amounts for each image of
    it. While matching, `of_update` draws transform and amounts once for all images of a class.

    Args:
        transforms: names, of `color`, `crop`, `cutout`, `flip`, `scale`, `rotate`.
        brightness, saturation, contrast: the ranges of `color`'s three parts.
        crop: greatest shift, as a share of height and width.
        cutout: side of the square that is blanked, as a share of height and width.
        flip: probability of a mirrored image; 0: `flip` is not drawn.
        scale: height and width, each by itself, are divided by 1/scale to scale.
        rotate: greatest angle, in degrees.
    """

    transforms: Sequence[str]
    brightness: float
    saturation: float
    contrast: float
    crop: float
    cutout: float
    flip: float
    scale: float
    rotate: float
    drawn: tuple[str, ...] = field(init=False)  # those that are drawn from

    def __post_init__(self) -> None:
        names = tuple(name for name in self.transforms if name != "flip" or self.flip > 0)
        object.__setattr__(self, "drawn", names)

    def __call__(self, images: Tensor, rng: torch.Generator) -> Tensor:
        kind = self._kind(rng)
        return self.apply(
            kind, images, to_device(torch.rand(len(images), DRAWN, generator=rng), images.device)
        )

    def of_update(self, seed: int, k: int, t: int) -> ByLabel:
        """What every image of a class goes through at one image update, real or synthetic."""

        @functools.cache
        def drawn(c: int) -> tuple[str, Tensor]:
            rng = generator(seed, "siamese", k, t, c)
            return self._kind(rng), torch.rand(DRAWN, generator=rng)

        def by_label(images: Tensor, labels: Tensor) -> Tensor:
            # As many calls as there are transforms, however many classes.
            classes, which = labels.unique(return_inverse=True)
            kinds, amounts = zip(*map(drawn, classes.tolist()), strict=True)
            numbers = torch.stack(amounts)[which]  # [N, DRAWN]
            parts, places = [], []
            for kind in dict.fromkeys(kinds):
                own = torch.tensor([of_class == kind for of_class in kinds])[which].nonzero().squeeze(1)
                of_kind = images[to_device(own, images.device)]
                parts.append(self.apply(kind, of_kind, to_device(numbers[own], images.device)))
                places.append(own)
            return torch.cat(parts)[to_device(torch.cat(places).argsort(), images.device)]

        return by_label

    def apply(self, kind: str, images: Tensor, numbers: Tensor) -> Tensor:
        """One transform of images [N, channels, H, W], its amounts from numbers in [0, 1), [N, DRAWN]."""
        return _TRANSFORMS[kind](images, numbers.to(images.dtype), self)

    def _kind(self, rng: torch.Generator) -> str:
        return self.drawn[int(torch.randint(len(self.drawn), (), generator=rng))]


def _color(images: Tensor, numbers: Tensor, settings: Siamese) -> Tensor:
    bright, saturated, contrasted = (_of_image(numbers[:, i]) for i in range(3))
    images = images + (bright - 0.5) * settings.brightness
    grey = images.mean(1, keepdim=True)
    images = (images - grey) * (saturated * settings.saturation) + grey
    mean = images.mean((1, 2, 3), keepdim=True)
    return (images - mean) * (contrasted + settings.contrast) + mean


def _crop(images: Tensor, numbers: Tensor, settings: Siamese) -> Tensor:
    shifts = [int(size * settings.crop + 0.5) for size in images.shape[2:]]
    padding = max(shifts)
    offsets = [
        padding - shift + (numbers[:, i] * (2 * shift + 1)).floor().long() for i, shift in enumerate(shifts)
    ]
    return crop(images, torch.stack(offsets, 1), padding, images.new_zeros(images.shape[1]))


def _cutout(images: Tensor, numbers: Tensor, settings: Siamese) -> Tensor:
    def outside(number: Tensor, size: int) -> Tensor:  # [N, size]
        side = int(size * settings.cutout + 0.5)
        centre = (number * (size + 1 - side % 2)).floor()
        first = (centre - side // 2).unsqueeze(1)
        position = torch.arange(size, device=images.device)
        return (position < first) | (position >= first + side)

    rows, columns = (outside(numbers[:, i], images.shape[2 + i]) for i in range(2))
    return images * (rows.unsqueeze(2) | columns.unsqueeze(1)).unsqueeze(1)


def _flip(images: Tensor, numbers: Tensor, settings: Siamese) -> Tensor:
    return torch.where(_of_image(numbers[:, 0]) < settings.flip, images.flip(3), images)


def _scale(images: Tensor, numbers: Tensor, settings: Siamese) -> Tensor:
    least, greatest = 1 / settings.scale, settings.scale
    down, right = (numbers[:, i] * (greatest - least) + least for i in range(2))
    zero = torch.zeros_like(down)
    stretch = torch.stack([right, zero, zero, zero, down, zero], 1).view(-1, 2, 3)
    grid = affine_grid(stretch, list(images.shape), align_corners=False)
    return grid_sample(images, grid, align_corners=False)


def _rotate(images: Tensor, numbers: Tensor, settings: Siamese) -> Tensor:
    degrees = (2 * numbers[:, 0] - 1) * settings.rotate
    return rotate(images, degrees, images.new_zeros(()))


def _of_image(amounts: Tensor) -> Tensor:
    return amounts.view(-1, 1, 1, 1)


_TRANSFORMS: dict[str, Callable[[Tensor, Tensor, Siamese], Tensor]] = {
    "color": _color,
    "crop": _crop,
    "cutout": _cutout,
    "flip": _flip,
    "scale": _scale,
    "rotate": _rotate,
}
TRANSFORMS = tuple(_TRANSFORMS)
