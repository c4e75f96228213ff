"""ConvNet, the paper's source and target network (section 4.5)."""

from collections import OrderedDict

from torch import nn

from gmlight.architectures import blocks
from gmlight.errors import ConfigError


class ConvNet(nn.Sequential):
    """Blocks of [3x3 convolution, norm, activation, 2x2 pooling], then a linear layer.

    [N, channels, H, W] -> [N, classes]. The defaults are the paper's. The first convolution pads 1x28x28
    images to 32x32.

    Args:
        channels: of the images.
        size: (H, W) of the images.
        classes: number of classes.
        width: channels of a block.
        depth: number of blocks.
        names: `activation`, `norm` and `pooling`, see `blocks.LayerNames`.

    Raises:
        ConfigError: the poolings leave nothing of the image, or a name is unknown.
    """

    def __init__(
        self,
        *,
        channels: int,
        size: tuple[int, int],
        classes: int,
        width: int = 128,
        depth: int = 3,
        **names: str,
    ) -> None:
        chosen = blocks.LayerNames(**names)
        height, breadth = size
        padding = 1
        if (channels, *size) == blocks.MNIST_SHAPE:
            height, breadth, padding = height + 4, breadth + 4, 3
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for i in range(depth):
            layers[f"conv{i}"] = nn.Conv2d(channels, width, 3, padding=padding)
            layers[f"norm{i}"] = blocks.norm(chosen.norm, width, (height, breadth))
            layers[f"activation{i}"] = blocks.activation(chosen.activation)
            layers[f"pooling{i}"] = blocks.pooling(chosen.pooling)
            channels, padding = width, 1
            if chosen.pooling != "none":
                height, breadth = height // 2, breadth // 2
            if min(height, breadth) < 1:
                raise ConfigError(
                    f"architecture.depth={depth}: pooling leaves nothing of a {size[0]}x{size[1]} image; "
                    f"use architecture.depth<={i} or architecture.pooling=none"
                )
        layers["flatten"] = nn.Flatten()
        layers["linear"] = nn.Linear(width * height * breadth, classes)
        super().__init__(layers)
