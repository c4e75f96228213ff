"""The cross-entropy of a network on images, for diagnostics, schedules and analyses."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

IMAGES_AT_ONCE = 256  # images in one pass through the network


@torch.no_grad()
def summed_loss(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, int]:
    """Sums the cross-entropy of the network over the images of all batches.

    Args:
        network: in eval mode.
        batches: pairs of images [n, channels, H, W] and labels [n], or probabilities [n, C]; one pass
            through the network each.

    Returns:
        The sum in nats, [], and the number of images; the mean is their quotient.
    """
    losses, count = [], 0
    for images, labels in batches:
        losses.append(cross_entropy(network(images), labels, reduction="sum"))
        count += len(labels)
    return torch.stack(losses).sum(), count


def in_batches(images: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Splits images [N, channels, H, W] and labels, [N] or [N, C], into batches of at most IMAGES_AT_ONCE."""
    return zip(images.split(IMAGES_AT_ONCE), labels.split(IMAGES_AT_ONCE), strict=True)
