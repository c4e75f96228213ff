"""What networks are built of, chosen by name."""

from collections.abc import Sequence

import torch
from torch import nn

from gmlight.errors import ConfigError

MNIST_SHAPE = (1, 28, 28)  # channels, height, width: images that first convolutions pad to 32x32

ACTIVATIONS = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "sigmoid": nn.Sigmoid, "swish": nn.SiLU}
POOLINGS = {"avg": nn.AvgPool2d, "max": nn.MaxPool2d}
NORMS = ("none", "batch", "layer", "instance", "group")
GROUPS = 4


def activation(name: str) -> nn.Module:
    """`sigmoid`, `relu`, `leaky_relu` (slope 0.01) or `swish`."""
    if name not in list(ACTIVATIONS):
        raise ConfigError(f"architecture.activation={name}: choose one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


def norm(name: str, channels: int, size: tuple[int, int]) -> nn.Module:
    """The normalisation of a [channels, *size] map; `instance` is GroupNorm with a group per channel."""
    match name:
        case "none":
            return nn.Identity()
        case "batch":
            return nn.BatchNorm2d(channels)
        case "layer":
            return nn.LayerNorm([channels, *size])
        case "instance":
            return nn.GroupNorm(channels, channels)
        case "group":
            if channels % GROUPS:
                raise ConfigError(
                    f"architecture.norm=group: {channels} channels do not divide into {GROUPS} groups; "
                    f"use a width that is a multiple of {GROUPS}"
                )
            return nn.GroupNorm(GROUPS, channels)
    raise ConfigError(f"architecture.norm={name}: choose one of {', '.join(NORMS)}")


def pooling(name: str) -> nn.Module:
    """2x2, stride 2: `max`, `avg` or `none`."""
    if name == "none":
        return nn.Identity()
    if name not in list(POOLINGS):
        raise ConfigError(f"architecture.pooling={name}: choose one of none, {', '.join(POOLINGS)}")
    return POOLINGS[name](2)


def flat_size(features: Sequence[nn.Module], channels: int, size: tuple[int, int]) -> int:
    """Numbers per image that leave the features, which end in a flatten.

    Raises:
        ConfigError: nothing of an image of this size is left.
    """
    network = nn.Sequential(*features).eval()
    try:
        with torch.no_grad():
            units = network(torch.zeros(1, channels, *size)).shape[1]
    except (RuntimeError, ValueError):  # a kernel larger than the map, a norm over a single number
        units = 0
    network.train()
    if units == 0:
        raise ConfigError(
            f"the architecture leaves nothing of a {size[0]}x{size[1]} image; use larger images or another"
        )
    return units


def uses_batch_norm(network: nn.Module) -> bool:
    """Whether any layer keeps running statistics that matching has to move and freeze."""
    return any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
