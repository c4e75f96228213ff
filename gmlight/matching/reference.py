"""Algorithm 1 in plain PyTorch: loops over classes and layers, whole batches, torch's layers.

The baseline for gmlight's speed, and the reference for its results in the tests. It is simple, not fast.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from gmlight.architectures.blocks import AveragePool
from gmlight.matching.distances import Distance

Gradients = list[list[Tensor]]  # [class][layer]
Timed = Callable[[str], AbstractContextManager]
RULES = ("intra", "inter", "interleaved", "multilevel")


def class_gradients(network: nn.Module, images: Iterable[Tensor], create_graph: bool = False) -> Gradients:
    """Computes the gradients of the weights with two or more dimensions, class by class.

    Args:
        network: in eval mode.
        images: of each class [n_c, channels, H, W]; the loss is their mean cross-entropy.
        create_graph: whether the gradients can be differentiated again.

    Returns:
        Gradients [class][layer], each of the weight's shape.
    """
    parameters = list(network.parameters())
    result = []
    for c, batch in enumerate(images):
        labels = torch.full((len(batch),), c, device=batch.device)
        loss = cross_entropy(network(batch), labels)
        gradients = torch.autograd.grad(loss, parameters, create_graph=create_graph)
        result.append([gradient for gradient in gradients if gradient.ndim >= 2])
    return result


@dataclass(frozen=True)
class MatchingLoss:
    """Matching loss: the sum over layers of the distances of each class, of the class means, or of both.

    Args:
        rule: one of RULES.
        distance: between two gradients of a layer, [out, length] -> [].
        inter_weight: lambda, the weight of the distance between means.
        synthetic_shares: of each class in the mean of the synthetic gradients, [C].
        real_shares: of each class in the mean of the real gradients, [C].
    """

    rule: str
    distance: Distance
    inter_weight: float
    synthetic_shares: Sequence[float]
    real_shares: Sequence[float]

    def __call__(self, synthetic: Gradients, real: Gradients, k: int) -> Tensor:
        """Computes the loss at outer iteration k, []."""
        total = torch.zeros((), dtype=real[0][0].dtype, device=real[0][0].device)
        if self.rule in ("intra", "multilevel") or (self.rule == "interleaved" and k % 2 == 0):
            for synthetic_layers, real_layers in zip(synthetic, real, strict=True):
                for a, b in zip(synthetic_layers, real_layers, strict=True):
                    total = total + self.distance(a.flatten(1), b.flatten(1))
        if self.rule in ("inter", "multilevel") or (self.rule == "interleaved" and k % 2 == 1):
            for layer in range(len(real[0])):
                a, b = _mean(synthetic, self.synthetic_shares, layer), _mean(real, self.real_shares, layer)
                total = total + self.inter_weight * self.distance(a.flatten(1), b.flatten(1))
        return total


@dataclass(frozen=True)
class NetworkTraining:
    """Settings of the inner loop, the network's training between image updates.

    Args:
        epochs: zeta of each t but the last.
        optimizer: makes the network's optimizer.
        batch_size: images in a mini-batch.
    """

    epochs: Sequence[int]
    optimizer: Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer]
    batch_size: int


def outer_iteration(
    images: Tensor,
    optimizer: torch.optim.Optimizer,
    network: nn.Module,
    draws: Iterable[Iterable[Tensor]],
    loss: Callable[[Gradients, Gradients], Tensor],
    training: NetworkTraining,
    timed: Timed = lambda part: nullcontext(),
) -> None:
    """Runs lines 3 to 14 for one k: T image updates, and the network's epochs between them.

    Args:
        images: the synthetic set [C, ipc, channels, H, W], changed in place.
        optimizer: of the images.
        network: a fresh network.
        draws: for each t the real images of each class, [n_c, channels, H, W].
        loss: the matching loss at k, from synthetic and real gradients.
        training: settings of the network's training.
        timed: a context around each part of the work.
    """
    classes, ipc = images.shape[:2]
    labels = torch.arange(classes, device=images.device).repeat_interleave(ipc)
    network_optimizer = training.optimizer(network.parameters())
    for t, real_images in enumerate(draws):
        network.eval()
        with timed("real gradients"):
            real = class_gradients(network, real_images)
        with timed("synthetic gradients"):
            synthetic = class_gradients(network, images, create_graph=True)
        with timed("distance"):
            total = loss(synthetic, real)
        with timed("synthetic gradients"):
            (images.grad,) = torch.autograd.grad(total, images)
        optimizer.step()
        if t == len(training.epochs):
            return
        with timed("network"):
            network.train()
            synthetic_set = TensorDataset(images.detach().flatten(0, 1), labels)
            for _ in range(training.epochs[t]):
                for inputs, targets in DataLoader(synthetic_set, training.batch_size, shuffle=True):
                    network_optimizer.zero_grad()
                    cross_entropy(network(inputs), targets).backward()
                    network_optimizer.step()


@torch.no_grad()
def accuracy(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Measures the share of the images that the network classifies correctly, in percent.

    Args:
        network: put into eval mode.
        batches: normalised images [n, channels, H, W] and labels [n].
    """
    network.eval()
    correct = total = 0
    for images, labels in batches:
        correct += int((network(images).argmax(1) == labels).sum())
        total += len(labels)
    return 100 * correct / total


def with_library_layers(network: nn.Module) -> nn.Module:
    """Replaces gmlight's faster layers by torch's; changes the network in place and returns it."""
    for name, child in network.named_children():
        if isinstance(child, AveragePool):
            setattr(network, name, nn.AvgPool2d(2))
        else:
            with_library_layers(child)
    return network


def _mean(gradients: Gradients, shares: Sequence[float], layer: int) -> Tensor:
    mean = sum(share * layers[layer] for share, layers in zip(shares, gradients, strict=True))
    assert isinstance(mean, Tensor)
    return mean
