"""LeNet (Table 4)."""

from torch import nn

from gmlight.architectures import blocks


class LeNet(nn.Sequential):
    """Two 5x5 convolutions of 6 and 16 maps with 2x2 max pools, then linear layers of 120 and 84 units.

    [N, channels, H, W] -> [N, classes]. The first convolution pads 1x28x28 images to 32x32.

    Args:
        channels: of the images.
        size: (H, W) of the images.
        classes: number of classes.

    Raises:
        ConfigError: the convolutions leave nothing of the image.
    """

    def __init__(self, *, channels: int, size: tuple[int, int], classes: int) -> None:
        padding = 2 if (channels, *size) == blocks.MNIST_SHAPE else 0
        features = [
            nn.Conv2d(channels, 6, 5, padding=padding),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        ]
        units = blocks.flat_size(features, channels, size)
        super().__init__(
            *features,
            nn.Linear(units, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, classes),
        )
