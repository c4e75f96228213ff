"""Measures gradients and losses of a network while it trains on a condensed set (Figure 2)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gmlight.data.images import LabelledImages
from gmlight.matching.class_gradients import Blocks, class_gradients
from gmlight.matching.engine import automatic_sizes
from gmlight.matching.losses import in_batches, summed_loss
from gmlight.training.evaluator import Evaluator


@dataclass(frozen=True)
class Point:
    """A network at one epoch of its training, measured on the condensed set and on real images.

    Args:
        epoch: epochs of training so far.
        norm_synthetic: L2 norm of the gradient of the mean cross-entropy on the condensed set, over all
            parameters.
        norm_real: the same on the real images.
        angle: angle between the two gradients, in degrees.
        loss_synthetic: mean cross-entropy on the condensed set, in nats.
        loss_real: mean cross-entropy on the real images, in nats.
    """

    epoch: int
    norm_synthetic: float
    norm_real: float
    angle: float
    loss_synthetic: float
    loss_real: float


def trajectory(
    evaluator: Evaluator, images: LabelledImages, real: LabelledImages, member: int, epochs: set[int]
) -> Iterator[Point]:
    """Trains one network as in an evaluation, and measures it at some epochs.

    Args:
        evaluator: trains the network.
        images: the condensed set.
        real: real images to measure on.
        member: number of the network; the same network as in an evaluation.
        epochs: when to measure; 0 is the fresh network.

    Yields:
        A point for each of these epochs.
    """
    for epoch, ensemble in enumerate(evaluator.training(images, [member])):
        if epoch in epochs:
            yield measure(ensemble.only, epoch, images, real)


def measure(network: nn.Module, epoch: int, synthetic: LabelledImages, real: LabelledImages) -> Point:
    """Measures a network in eval mode, without augmentation.

    Args:
        network: stays in eval mode.
        epoch: epochs of training so far.
        synthetic: the condensed set.
        real: real images.
    """
    network.eval()
    synthetic_gradient, real_gradient = mean_gradient(network, synthetic), mean_gradient(network, real)
    synthetic_norm, real_norm = synthetic_gradient.norm(), real_gradient.norm()
    cosine = torch.dot(synthetic_gradient, real_gradient) / (synthetic_norm * real_norm)
    return Point(
        epoch,
        synthetic_norm.item(),
        real_norm.item(),
        cosine.clamp(-1, 1).acos().rad2deg().item(),
        _mean_loss(network, synthetic),
        _mean_loss(network, real),
    )


def mean_gradient(network: nn.Module, images: LabelledImages) -> Tensor:
    """Computes the gradient of the mean cross-entropy in all parameters: float64 [P], on the CPU."""
    names = [name for name, _ in network.named_parameters()]
    microbatch, _ = automatic_sizes(network, images.images, 1, differentiable=False)
    layers = class_gradients(
        network,
        images.images.unsqueeze(0),
        [images.targets],
        weights=names,
        blocks=Blocks(microbatch),
    )
    return torch.cat([layer.flatten() for layer in layers.values()]).cpu().double()


def _mean_loss(network: nn.Module, images: LabelledImages) -> float:
    total, count = summed_loss(network, in_batches(images.images, images.targets))
    return total.item() / count


def logarithmic_epochs(last: int, number: int) -> set[int]:
    """Chooses epochs with even spacing on a logarithmic axis, including 0 and the last epoch.

    Args:
        last: the last epoch.
        number: number of epochs; there are fewer if rounding makes some equal.
    """
    spread = torch.logspace(0, torch.tensor(max(1, last)).log10().item(), max(2, number - 1))
    return {0, last, *(min(last, round(epoch)) for epoch in spread.tolist())}
