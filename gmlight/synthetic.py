"""What is learned, and the map from it to images."""

import torch
from torch import Tensor, nn

from gmlight.data import LabelledImages, RealImages


class Pixels(nn.Module):
    """The synthetic set S: its pixels are the parameters, the map to images is the identity.

    Args:
        images: the start, normalised, [C, ipc, channels, H, W].
    """

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.images = nn.Parameter(images.clone())

    def forward(self) -> Tensor:
        """The images of every class, [C, ipc, channels, H, W]."""
        return self.images

    def labelled(self) -> LabelledImages:
        """S as a training set, detached: images [C * ipc, channels, H, W], labels [C * ipc]."""
        return flatten(self().detach())


def flatten(images: Tensor) -> LabelledImages:
    """[C, ipc, channels, H, W] -> a training set in the order of the classes."""
    classes, ipc = images.shape[:2]
    labels = torch.arange(classes, device=images.device).repeat_interleave(ipc)
    return LabelledImages(images.flatten(0, 1), labels)


def noise(train: RealImages, ipc: int, rng: torch.Generator) -> LabelledImages:
    """ipc images a class of N(0, 1) noise in normalised space (Algorithm 1, line 1)."""
    shape = (len(train.counts), ipc, *train.images.shape[1:])
    return flatten(torch.randn(shape, generator=rng))
