"""Building blocks of networks, chosen by name."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from gmlight.errors import ConfigError

MNIST_SHAPE = (1, 28, 28)  # channels, H, W of images that the first convolution pads to 32x32

ACTIVATIONS = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "sigmoid": nn.Sigmoid, "swish": nn.SiLU}
POOLINGS = ("none", "avg", "max")
NORMS = ("none", "batch", "layer", "instance", "group")
GROUPS = 4


@dataclass(frozen=True)
class LayerNames:
    """Names of the layers that follow a convolution; defaults: the paper's ConvNet.

    Args:
        activation: see `activation`.
        norm: see `norm`.
        pooling: see `pooling`.
    """

    activation: str = "relu"
    norm: str = "instance"
    pooling: str = "avg"


def activation(name: str) -> nn.Module:
    """Makes an activation: `sigmoid`, `relu`, `leaky_relu` (slope 0.01) or `swish`.

    Raises:
        ConfigError: the name is unknown.
    """
    if name not in list(ACTIVATIONS):
        raise ConfigError(f"architecture.activation={name}: choose one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


def norm(name: str, channels: int, size: tuple[int, int]) -> nn.Module:
    """Makes the normalisation of a map: `none`, `batch`, `layer`, `instance` or `group`.

    `instance` is GroupNorm with one group per channel, `group` has four groups.

    Args:
        name: the normalisation.
        channels: of the map.
        size: (H, W) of the map; used by `layer` only.

    Raises:
        ConfigError: the name is unknown, or the channels do not divide into groups.
    """
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
    """Makes a 2x2 pool with stride 2: `avg`, `max` or `none`.

    Raises:
        ConfigError: the name is unknown.
    """
    match name:
        case "avg":
            return AveragePool()
        case "max":
            return nn.MaxPool2d(2)
        case "none":
            return nn.Identity()
    raise ConfigError(f"architecture.pooling={name}: choose one of {', '.join(POOLINGS)}")


class AveragePool(nn.Module):
    """`nn.AvgPool2d(2)`, faster on a CPU: [..., H, W] -> [..., H // 2, W // 2].

    torch's pool takes as long as a convolution on a CPU. A product with a matrix of quarters is as fast as
    other matrix products, also in the backward pass. When compiled, sums of slices are faster still.
    """

    def forward(self, maps: Tensor) -> Tensor:
        height, width = maps.shape[-2:]
        if maps.device.type != "cpu" or height % 2 or width % 2:
            return avg_pool2d(maps, 2)
        if torch.compiler.is_compiling():
            top, bottom = maps[..., ::2, :], maps[..., 1::2, :]
            return (top[..., ::2] + top[..., 1::2] + bottom[..., ::2] + bottom[..., 1::2]) / 4
        pairs_of_rows = maps.reshape(*maps.shape[:-2], height // 2, 2 * width)
        return pairs_of_rows @ torch.from_numpy(_quarters(width)).to(maps.dtype)


@functools.cache
def _quarters(width: int) -> np.ndarray:
    # [2 * width, width // 2]: 1/4 if an entry of two rows lies in a window. Cached as an array, because a
    # tensor made inside a torch.func transform is not valid outside.
    window = np.arange(width) // 2
    return (np.concatenate([window, window])[:, None] == np.arange(width // 2)) / 4


def flat_size(features: Sequence[nn.Module], channels: int, size: tuple[int, int]) -> int:
    """Returns the number of features per image.

    Args:
        features: layers that end with a flatten layer.
        channels: of the images.
        size: (H, W) of the images.

    Raises:
        ConfigError: the layers leave nothing of an image of this size.
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
            f"the architecture leaves nothing of a {size[0]}x{size[1]} image; use larger images or another "
            "architecture"
        )
    return units


def uses_batch_norm(network: nn.Module) -> bool:
    """Whether any layer is a batch norm, whose running statistics matching must update and freeze."""
    return any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
