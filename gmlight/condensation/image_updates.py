"""How the synthetic images are updated: in which steps, which of them, at which rate, within which range."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gmlight.runtime.seeding import generator


@dataclass(frozen=True)
class ImageRate:
    """Scales the learning rate of the images over the outer iterations.

    Args:
        iterations: K.
        warmup: share of the iterations in which the rate rises in a straight line.
        decay: how it falls in the others: `none`, `linear` or `cosine`, which end near zero.
    """

    iterations: int
    warmup: float = 0.0
    decay: str = "none"

    def __call__(self, k: int) -> float:
        """Returns the factor of outer iteration k, counted from 0."""
        rising = round(self.warmup * self.iterations)
        if k < rising:
            return (k + 1) / rising
        done = (k - rising) / (self.iterations - rising)
        match self.decay:
            case "linear":
                return 1 - done
            case "cosine":
                return (1 + math.cos(math.pi * done)) / 2
        return 1.0


@dataclass(frozen=True)
class ImageUpdates:
    """Settings of an image update; the defaults are the paper's.

    Args:
        steps: zeta_S, image steps in an update (Eq. 10); with `by_class`, rounds of such steps.
        by_class: whether each class has an image step of its own, on the images that the steps before it
            left (IDC), instead of one step for all classes.
        at_once: images per class that an update matches, drawn anew for each; 0: all.
        prefixes: stored images per class, ipc, if each update first matches as many of the first ones as it
            draws, so that the first m are a good set for every m; 0: it matches all alone.
        rate: factor of the learning rate at an outer iteration; None: always 1.
        clip: least and greatest value of each channel, [channels, 1, 1] each, between which pixels are kept;
            None: no limits.
    """

    steps: int = 1
    by_class: bool = False
    at_once: int = 0
    prefixes: int = 0
    rate: ImageRate | None = None
    clip: tuple[Tensor, Tensor] | None = None

    def targets(self, classes: int) -> Iterator[int | None]:
        """Yields the class of each image step of an update; None stands for all classes."""
        for _ in range(self.steps):
            yield from range(classes) if self.by_class else (None,)

    def draws(self, classes: int, images: int, seed: int, k: int, t: int) -> Iterator[Tensor | None]:
        """Draws the images that an update matches, once or, with `prefixes`, twice.

        Args:
            classes: C.
            images: of a class, as many of each stored image.
            seed: of the run.
            k: outer iteration.
            t: image update within it.

        Yields:
            Positions [C, n] in each class, different ones; None: all images. The last is of all images.
        """
        if self.prefixes > 1:
            drawn = torch.randint(1, self.prefixes, (), generator=generator(seed, "prefix", k, t))
            first = int(drawn) * images // self.prefixes
            chosen = self._draw(classes, first, generator(seed, "prefix-batch", k, t))
            yield torch.arange(first).expand(classes, -1) if chosen is None else chosen
        yield self._draw(classes, images, generator(seed, "synthetic-batch", k, t))

    def _draw(self, classes: int, images: int, rng: torch.Generator) -> Tensor | None:
        if not 0 < self.at_once < images:
            return None
        return torch.stack([torch.randperm(images, generator=rng)[: self.at_once] for _ in range(classes)])
