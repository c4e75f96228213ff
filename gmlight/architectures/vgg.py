"""VGG-11 for small images (Table 4)."""

from torch import nn

from gmlight.architectures import blocks

POOL = 0
LAYERS = (64, POOL, 128, POOL, 256, 256, POOL, 512, 512, POOL, 512, 512, POOL)  # widths of 3x3 convolutions


class VGG11(nn.Sequential):
    """Eight [3x3 convolution, norm, ReLU], five 2x2 max pools, a linear layer.

    [N, channels, H, W] -> [N, classes]. The first convolution pads 1x28x28 images to 32x32.

    Args:
        channels: of the images.
        size: (H, W) of the images.
        classes: number of classes.
        norm: see `blocks.norm`.

    Raises:
        ConfigError: the poolings leave nothing of the image.
    """

    def __init__(self, *, channels: int, size: tuple[int, int], classes: int, norm: str) -> None:
        padding = 1
        (height, breadth), width = size, channels
        if (channels, *size) == blocks.MNIST_SHAPE:
            height, breadth, padding = height + 4, breadth + 4, 3
        features: list[nn.Module] = []
        for layer in LAYERS:
            if layer == POOL:
                features.append(nn.MaxPool2d(2))
                height, breadth = height // 2, breadth // 2
                continue
            features += [
                nn.Conv2d(width, layer, 3, padding=padding),
                blocks.norm(norm, layer, (height, breadth)),
                nn.ReLU(),
            ]
            width, padding = layer, 1
        features.append(nn.Flatten())
        units = blocks.flat_size(features, channels, size)
        super().__init__(*features, nn.Linear(units, classes))
