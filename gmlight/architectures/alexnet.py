"""AlexNet for small images (Table 4), without normalisation."""

from torch import nn

from gmlight.architectures import blocks


class AlexNet(nn.Sequential):
    """Five convolutions with three 2x2 max pools, then a linear layer.

    [N, channels, H, W] -> [N, classes]. The first convolution pads 1x28x28 images to 32x32.

    Args:
        channels: of the images.
        size: (H, W) of the images.
        classes: number of classes.

    Raises:
        ConfigError: the poolings leave nothing of the image.
    """

    def __init__(self, *, channels: int, size: tuple[int, int], classes: int) -> None:
        padding = 4 if (channels, *size) == blocks.MNIST_SHAPE else 2
        features = [
            nn.Conv2d(channels, 128, 5, padding=padding),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(128, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(192, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 192, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(192, 192, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        ]
        units = blocks.flat_size(features, channels, size)
        super().__init__(*features, nn.Linear(units, classes))
