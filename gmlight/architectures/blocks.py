"""What networks are built of, chosen by name."""

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from gmlight.errors import ConfigError

MNIST_SHAPE = (1, 28, 28)  # channels, height, width: images that first convolutions pad to 32x32

ACTIVATIONS = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "sigmoid": nn.Sigmoid, "swish": nn.SiLU}
POOLINGS = ("none", "avg", "max")
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
    """2x2, stride 2: `avg`, `max` or `none`."""
    match name:
        case "avg":
            return AveragePool()
        case "max":
            return nn.MaxPool2d(2)
        case "none":
            return nn.Identity()
    raise ConfigError(f"architecture.pooling={name}: choose one of {', '.join(POOLINGS)}")


class AveragePool(nn.Module):
    """The mean of each 2x2 window, [..., H, W] -> [..., H // 2, W // 2]: `nn.AvgPool2d(2)`, faster on a CPU.

    There the library's pool takes as long as a convolution. A product with a matrix of quarters runs at the
    speed of matrix products, also backwards; sums of slices are faster still, once they are compiled.
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
    # [2 * width, width // 2], 1/4 where an entry of two rows lies in a window. No tensor is kept: one made
    # inside torch.func's transforms would belong to them.
    window = np.arange(width) // 2
    return (np.concatenate([window, window])[:, None] == np.arange(width // 2)) / 4


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
