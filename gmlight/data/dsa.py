"""Siamese augmentation: the same transforms for the real and synthetic images of a class.

Zhao and Bilen, "Dataset Condensation with Differentiable Siamese Augmentation", ICML 2021, section 3.2;
details that the paper omits follow the authors' code. All transforms work in normalised space, fill with 0,
and are differentiable with respect to the images.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import affine_grid

from gmlight.data.augmentation import crop, rotate
from gmlight.data.images import LabelTransform
from gmlight.data.resampling import resample
from gmlight.runtime.seeding import generator, to_device

DRAWN = 3  # random numbers in [0, 1) per transform; some transforms use fewer


@dataclass(frozen=True)
class Siamese:
    """Applies one random transform by random amounts.

    In training, one transform is drawn for a mini-batch, and amounts for each image. In matching,
    `update_transform` draws one transform and its amounts for all images of a class.

    Args:
        transforms: some of `color`, `crop`, `cutout`, `flip`, `scale`, `rotate`.
        brightness: range of the shift in brightness.
        saturation: range of the saturation factor.
        contrast: smallest contrast factor.
        crop: largest shift, as a share of height and width.
        cutout: side of the blanked square, as a share of height and width.
        flip: probability of a mirrored image; 0: `flip` is never chosen.
        scale: height and width are each divided by a number from 1/scale to scale.
        rotate: largest angle, in degrees.

    Attributes:
        drawn: transforms that can be drawn.
        protocol: name of the evaluation protocol.
        while_matching: True: it also transforms the images whose gradients are matched.
    """

    protocol: ClassVar[str] = "dsa"
    while_matching: ClassVar[bool] = True

    transforms: Sequence[str]
    brightness: float
    saturation: float
    contrast: float
    crop: float
    cutout: float
    flip: float
    scale: float
    rotate: float
    drawn: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        names = tuple(name for name in self.transforms if name != "flip" or self.flip > 0)
        object.__setattr__(self, "drawn", names)

    def __call__(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Transforms images [N, channels, H, W] by one transform, with different amounts for each image."""
        kind = self._kind(rng)
        return self.apply(
            kind, images, to_device(torch.rand(len(images), DRAWN, generator=rng), images.device)
        )

    def update_transform(self, seed: int, k: int, t: int) -> LabelTransform:
        """Returns the transform of an image update; it is the same for all images of a class.

        Args:
            seed: of the run.
            k: outer iteration.
            t: image update within it.
        """

        @functools.cache
        def draw(c: int) -> tuple[str, Tensor]:
            rng = generator(seed, "siamese", k, t, c)
            return self._kind(rng), torch.rand(DRAWN, generator=rng)

        return functools.partial(self._apply_by_class, draw)

    def for_network(self, *, mixes: bool) -> "Siamese":
        """Returns the augmentation of the network's training between image updates: this one.

        Args:
            mixes: whether mini-batches are also mixed by CutMix.
        """
        return self

    def _apply_by_class(
        self, draw: Callable[[int], tuple[str, Tensor]], images: Tensor, labels: Tensor
    ) -> Tensor:
        # One call per kind of transform, not per class. draw: class -> kind and numbers [DRAWN].
        classes, positions = labels.unique(return_inverse=True)
        kinds, amounts = zip(*map(draw, classes.tolist()), strict=True)
        numbers = torch.stack(amounts)[positions]  # [N, DRAWN]
        parts, places = [], []
        for kind in dict.fromkeys(kinds):
            chosen = (
                torch.tensor([class_kind == kind for class_kind in kinds])[positions].nonzero().squeeze(1)
            )
            batch = images[to_device(chosen, images.device)]
            parts.append(self.apply(kind, batch, to_device(numbers[chosen], images.device)))
            places.append(chosen)
        return torch.cat(parts)[to_device(torch.cat(places).argsort(), images.device)]

    def apply(self, kind: str, images: Tensor, numbers: Tensor) -> Tensor:
        """Applies one transform.

        Args:
            kind: name of the transform.
            images: [N, channels, H, W].
            numbers: in [0, 1), from which the amounts are computed, [N, DRAWN].
        """
        return _TRANSFORMS[kind](images, numbers.to(images.dtype), self)

    def _kind(self, rng: torch.Generator) -> str:
        return _one_of(self.drawn, rng)


Stage = str | Sequence[str]  # a transform, or several of which one is drawn


@dataclass(frozen=True)
class Chain(Siamese):
    """Applies several transforms, one after the other.

    Kim et al., "Dataset Condensation via Efficient Synthetic-Data Parameterization", ICML 2022; details
    follow the authors' code. In training, one transform of each stage is drawn for a mini-batch, and amounts
    for each image. In matching, the transforms and their amounts are drawn for all images of a class.

    Args:
        transforms: stages in training.
        matched: stages of images whose gradients are matched, and of the network's training between image
            updates, which leaves `cutout` out where CutMix is on.
    """

    protocol: ClassVar[str] = "idc"

    transforms: Sequence[Stage]  # type: ignore[assignment]
    matched: Sequence[Stage] = ()

    def __post_init__(self) -> None:
        names = {name for stage in (*self.transforms, *self.matched) for name in self._effective(stage)}
        object.__setattr__(self, "drawn", tuple(name for name in TRANSFORMS if name in names))

    def __call__(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Transforms images [N, channels, H, W] by one transform of each stage, by amounts of each image."""
        for kinds in self._stages(self.transforms):
            kind = _one_of(kinds, rng)
            numbers = torch.rand(len(images), DRAWN, generator=rng)
            images = self.apply(kind, images, to_device(numbers, images.device))
        return images

    def update_transform(self, seed: int, k: int, t: int) -> LabelTransform:
        """Returns the transforms of an image update, as in `Siamese`."""
        stages = self._stages(self.matched)

        @functools.cache
        def draw(c: int) -> list[tuple[str, Tensor]]:
            rng = generator(seed, "siamese", k, t, c)
            return [(_one_of(kinds, rng), torch.rand(DRAWN, generator=rng)) for kinds in stages]

        def transform(images: Tensor, labels: Tensor) -> Tensor:
            for i in range(len(stages)):
                images = self._apply_by_class(lambda c, i=i: draw(c)[i], images, labels)  # type: ignore[misc]
            return images

        return transform

    def for_network(self, *, mixes: bool) -> "Chain":
        """Returns the matched stages, which a network's training applies without cutout if it mixes."""
        kept = [
            [name for name in _names(stage) if not (mixes and name == "cutout")] for stage in self.matched
        ]
        return replace(self, transforms=[stage for stage in kept if stage])

    def _stages(self, stages: Sequence[Stage]) -> list[tuple[str, ...]]:
        return [kinds for kinds in map(self._effective, stages) if kinds]

    def _effective(self, stage: Stage) -> tuple[str, ...]:
        # Without transforms that do nothing.
        off = {name for name, amount in (("flip", self.flip), ("cutout", self.cutout)) if not amount}
        return tuple(name for name in _names(stage) if name not in off)


def _names(stage: Stage) -> Sequence[str]:
    return [stage] if isinstance(stage, str) else stage


def _one_of(kinds: Sequence[str], rng: torch.Generator) -> str:
    return kinds[int(torch.randint(len(kinds), (), generator=rng))]


def _color(images: Tensor, numbers: Tensor, settings: Siamese) -> Tensor:
    bright, saturated, contrasted = (_per_image(numbers[:, i]) for i in range(3))
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
    return torch.where(_per_image(numbers[:, 0]) < settings.flip, images.flip(3), images)


def _scale(images: Tensor, numbers: Tensor, settings: Siamese) -> Tensor:
    least, greatest = 1 / settings.scale, settings.scale
    down, right = (numbers[:, i] * (greatest - least) + least for i in range(2))
    zero = torch.zeros_like(down)
    stretch = torch.stack([right, zero, zero, zero, down, zero], 1).view(-1, 2, 3)
    grid = affine_grid(stretch, list(images.shape), align_corners=False)
    return resample(images, grid)


def _rotate(images: Tensor, numbers: Tensor, settings: Siamese) -> Tensor:
    degrees = (2 * numbers[:, 0] - 1) * settings.rotate
    return rotate(images, degrees, images.new_zeros(()))


def _per_image(amounts: Tensor) -> Tensor:
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
