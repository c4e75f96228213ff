"""Tiny problems in double precision."""

import dataclasses
import functools
import inspect
import string
from collections.abc import Sequence

import torch
from torch import nn

from gmlight.architectures.convnet import ConvNet
from gmlight.data.datasets import digits
from gmlight.data.dsa import TRANSFORMS, Siamese
from gmlight.data.images import DatasetInfo, RealImages
from gmlight.data.splits import Splits
from gmlight.matching import distances, rules
from gmlight.matching.engine import GradientEngine


def enlarged_digits(root: str, download: bool, **options: object) -> Splits:
    """Returns two digits per class, with each pixel enlarged four times: 1x32x32."""

    def two_of_each(images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = torch.cat([(labels == c).nonzero().squeeze(1)[:2] for c in range(10)])
        return images[chosen].repeat_interleave(4, 2).repeat_interleave(4, 3), labels[chosen]

    train, test = digits(root, download, test_share=0.2, split_seed=0)
    return two_of_each(*train), two_of_each(*test)


def named_classes(
    *classes: str, mean: Sequence[float] = (0.5,), std: Sequence[float] = (0.25,)
) -> DatasetInfo:
    """Of a dataset of 8x8 images, as many of each class."""
    priors = (1 / len(classes),) * len(classes)
    return DatasetInfo(classes, tuple(mean), tuple(std), (len(mean), 8, 8), priors)


def small_network(norm: str = "instance", channels: int = 2, size: int = 8, classes: int = 3) -> nn.Module:
    """A ConvNet of two blocks in double precision."""
    return ConvNet(
        channels=channels,
        size=(size, size),
        classes=classes,
        width=4,
        depth=2,
        activation="relu",
        norm=norm,
        pooling="avg",
    ).double()


def gradient_engine(**options: object) -> GradientEngine:
    """The gradient engine of a run on a CPU, not compiled."""
    return GradientEngine(**options)


def siamese(kind: type[Siamese] = Siamese, **options: object) -> Siamese:
    """The augmentation with the published strengths."""
    settings: dict = {"transforms": TRANSFORMS, "flip": 0.5, "crop": 0.125, "cutout": 0.5, "scale": 1.2}
    settings |= {"rotate": 15.0, "brightness": 1.0, "saturation": 2.0, "contrast": 0.5}
    return kind(**(settings | options))


def random_images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


def real_images(
    images: torch.Tensor, labels: torch.Tensor, mean: Sequence[float], std: Sequence[float]
) -> RealImages:
    """A split on the CPU whose classes are a, b, c and so on."""
    counts = torch.bincount(labels).tolist()
    channels, height, width = images.shape[1:]
    info = DatasetInfo(
        classes=tuple(string.ascii_lowercase[: len(counts)]),
        mean=tuple(mean),
        std=tuple(std),
        shape=(channels, height, width),
        priors=tuple(count / len(labels) for count in counts),
    )
    return RealImages(images, labels, info, device=torch.device("cpu"))


DISTANCES = ("cos", "euclid", "sse", "sae", "mse", "cos_euclid", "cos_sse", "cos_mse")


def distance_named(name: str, weight: float) -> distances.Distance:
    function = getattr(distances, name)
    return (
        functools.partial(function, weight=weight)
        if "weight" in inspect.signature(function).parameters
        else function
    )


def numbered_classes(number: int, priors: Sequence[float] = ()) -> DatasetInfo:
    """A dataset of two channels whose classes are 0, 1 and so on; as many images of each by default."""
    info = named_classes(*map(str, range(number)), mean=(0.0, 0.0), std=(1.0, 1.0))
    return dataclasses.replace(info, priors=tuple(priors) or info.priors)


def rule_named(name: str, **options: object) -> rules.MatchingRule:
    """With those of the options that the rule has."""
    rule = getattr(rules, name)
    known = inspect.signature(rule).parameters
    return rule(**{key: value for key, value in options.items() if key in known})
