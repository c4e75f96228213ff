"""Multi-layer perceptron (Table 4)."""

import math

from torch import nn

from gmlight.architectures import blocks


class MLP(nn.Sequential):
    """Hidden layers on the flattened image, then a linear layer.

    [N, channels, H, W] -> [N, classes].

    Args:
        channels: of the images.
        size: (H, W) of the images.
        classes: number of classes.
        width: units of a hidden layer.
        depth: number of hidden layers.
        activation: see `blocks.activation`.
    """

    def __init__(
        self, *, channels: int, size: tuple[int, int], classes: int, width: int, depth: int, activation: str
    ) -> None:
        layers: list[nn.Module] = [nn.Flatten()]
        units = channels * math.prod(size)
        for _ in range(depth):
            layers += [nn.Linear(units, width), blocks.activation(activation)]
            units = width
        super().__init__(*layers, nn.Linear(units, classes))
