"""What happens in a network that trains on a condensed set: the analysis behind Figure 2."""

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
    """A network after so many epochs on S, measured on all of S and on real images T.

    norm_synthetic, norm_real: L2 norm of the gradient of the mean cross-entropy, over all parameters.
    angle: between the two, in degrees. loss_synthetic, loss_real: mean cross-entropy, in nats.
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
    """One network's points at these epochs, 0 being the fresh network; it trains as in an evaluation.

    Args:
        member: the number of the network; the evaluation's network of that number is the same.
    """
    for epoch, ensemble in enumerate(evaluator.training(images, [member])):
        if epoch in epochs:
            yield measure(ensemble.only, epoch, images, real)


def measure(network: nn.Module, epoch: int, synthetic: LabelledImages, real: LabelledImages) -> Point:
    """The network as it is, in eval mode and without augmentation."""
    network.eval()
    of_synthetic, of_real = gradient(network, synthetic), gradient(network, real)
    norms = of_synthetic.norm(), of_real.norm()
    cosine = torch.dot(of_synthetic, of_real) / (norms[0] * norms[1])
    return Point(
        epoch,
        norms[0].item(),
        norms[1].item(),
        cosine.clamp(-1, 1).acos().rad2deg().item(),
        _mean_loss(network, synthetic),
        _mean_loss(network, real),
    )


def gradient(network: nn.Module, images: LabelledImages) -> Tensor:
    """Of the mean cross-entropy with respect to all parameters, as one vector in double precision."""
    names = [name for name, _ in network.named_parameters()]
    microbatch, _ = automatic_sizes(network, images.images, 1, differentiable=False)
    layers = class_gradients(
        network,
        images.images.unsqueeze(0),
        [images.labels],
        weights=names,
        blocks=Blocks(microbatch),
    )
    return torch.cat([layer.flatten() for layer in layers.values()]).double()


def _mean_loss(network: nn.Module, images: LabelledImages) -> float:
    total, count = summed_loss(network, in_batches(images.images, images.labels))
    return total.item() / count


def logarithmic(last: int, number: int) -> set[int]:
    """0, last and about as many epochs between as to be evenly spread on a logarithmic axis."""
    spread = torch.logspace(0, torch.tensor(max(1, last)).log10().item(), max(2, number - 1))
    return {0, last, *(min(last, round(epoch)) for epoch in spread.tolist())}
