"""ResNet-18 for small images (Table 4), also with average pooling instead of strides."""

from torch import Tensor, nn

from gmlight.architectures import blocks
from gmlight.errors import ConfigError

STAGES = ((64, False), (128, True), (256, True), (512, True))  # width, whether the map is halved


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut.

    Args:
        channels: of the input.
        width: channels of the output.
        halved: whether height and width are halved.
        pooled: whether a 2x2 average pool halves the map instead of a stride.
        norm: see `blocks.norm`.
    """

    def __init__(self, channels: int, width: int, halved: bool, pooled: bool, norm: str) -> None:
        super().__init__()
        stride = 2 if halved and not pooled else 1
        pool = [blocks.AveragePool()] if halved and pooled else []

        def normalised(*layers: nn.Module) -> list[nn.Module]:
            return [*layers, blocks.norm(norm, width, (0, 0))]

        self.residual = nn.Sequential(
            *normalised(nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)),
            nn.ReLU(),
            *pool,
            *normalised(nn.Conv2d(width, width, 3, padding=1, bias=False)),
        )
        self.shortcut = nn.Sequential()
        if halved or channels != width:
            self.shortcut = nn.Sequential(
                *normalised(nn.Conv2d(channels, width, 1, stride, bias=False), *pool)
            )

    def forward(self, maps: Tensor) -> Tensor:
        return nn.functional.relu(self.residual(maps) + self.shortcut(maps))


class ResNet18(nn.Sequential):
    """A 3x3-64 stem, four stages of two blocks, a 4x4 average pool, a linear layer.

    [N, channels, H, W] -> [N, classes].

    Args:
        channels: of the images.
        size: (H, W) of the images.
        classes: number of classes.
        norm: see `blocks.norm`; not `layer`.
        pooled: whether 2x2 average pools replace the strides and the final pool.

    Raises:
        ConfigError: the pools leave nothing of the image, or the norm is `layer`.
    """

    def __init__(
        self, *, channels: int, size: tuple[int, int], classes: int, norm: str, pooled: bool
    ) -> None:
        if norm == "layer":
            raise ConfigError("architecture.norm=layer: not for resnet18; use batch, instance, group or none")
        features: list[nn.Module] = [
            nn.Conv2d(channels, 64, 3, padding=1, bias=False),
            blocks.norm(norm, 64, size),
            nn.ReLU(),
        ]
        width = 64
        for stage_width, halved in STAGES:
            features.append(BasicBlock(width, stage_width, halved, pooled, norm))
            features.append(BasicBlock(stage_width, stage_width, False, pooled, norm))
            width = stage_width
        features += [nn.Flatten()] if pooled else [nn.AvgPool2d(4), nn.Flatten()]
        units = blocks.flat_size(features, channels, size)
        super().__init__(*features, nn.Linear(units, classes))
