"""Algorithm 1 as a textbook writes it: loops over classes and layers, whole batches, torch's own layers.

What gmlight's speed is measured against, and what its tests take for the truth. Nothing here is clever.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from gmlight.architectures.blocks import AveragePool
from gmlight.matching.distances import Distance

Gradients = list[list[Tensor]]  # [class][layer]
RULES = ("intra", "inter", "interleaved", "multilevel")


def class_gradients(network: nn.Module, images: Iterable[Tensor], create_graph: bool = False) -> Gradients:
    """Gradients of the weights with two or more dimensions, class by class.

    Args:
        images: of each class [n_c, channels, H, W]; the loss is their mean cross-entropy.
    """
    parameters = list(network.parameters())
    result = []
    for c, batch in enumerate(images):
        labels = torch.full((len(batch),), c, device=batch.device)
        loss = cross_entropy(network(batch), labels)
        gradients = torch.autograd.grad(loss, parameters, create_graph=create_graph)
        result.append([gradient for gradient in gradients if gradient.ndim >= 2])
    return result


def matching_loss(
    rule: str,
    synthetic: Gradients,
    real: Gradients,
    distance: Distance,
    k: int,
    *,
    inter_weight: float,
    synthetic_shares: Sequence[float],
    real_shares: Sequence[float],
) -> Tensor:
    """The matching loss of one of the RULES: a distance a layer, of each class or of their means, summed."""
    total = torch.zeros((), dtype=real[0][0].dtype, device=real[0][0].device)
    if rule in ("intra", "multilevel") or (rule == "interleaved" and k % 2 == 0):
        for of_class_s, of_class_r in zip(synthetic, real, strict=True):
            for layer_s, layer_r in zip(of_class_s, of_class_r, strict=True):
                total = total + distance(layer_s.flatten(1), layer_r.flatten(1))
    if rule in ("inter", "multilevel") or (rule == "interleaved" and k % 2 == 1):
        for layer in range(len(real[0])):
            mean_s = sum(share * g[layer] for share, g in zip(synthetic_shares, synthetic, strict=True))
            mean_r = sum(share * g[layer] for share, g in zip(real_shares, real, strict=True))
            assert isinstance(mean_s, Tensor)
            assert isinstance(mean_r, Tensor)
            total = total + inter_weight * distance(mean_s.flatten(1), mean_r.flatten(1))
    return total


def outer_iteration(
    images: Tensor,
    optimizer: torch.optim.Optimizer,
    network: nn.Module,
    draws: Iterable[Iterable[Tensor]],
    *,
    rule: str,
    distance: Distance,
    k: int,
    inter_weight: float,
    shares: Sequence[float],
    epochs: Sequence[int],
    network_lr: float,
    network_momentum: float,
    train_batch: int,
    timed: Callable[[str], AbstractContextManager] = lambda part: nullcontext(),
) -> None:
    """Lines 3 to 14 for one k: T image updates, and the network's epochs between them.

    Args:
        images: S [C, ipc, channels, H, W], what the optimizer steps. network: fresh.
        draws: for each t the real images of each class. epochs: zeta of each t but the last.
        shares: of each class in the inter-class means. timed: a context for each part of the work.
    """
    classes, ipc = images.shape[:2]
    labels = torch.arange(classes, device=images.device).repeat_interleave(ipc)
    of_network = torch.optim.SGD(network.parameters(), lr=network_lr, momentum=network_momentum)
    for t, real_images in enumerate(draws):
        network.eval()
        with timed("real gradients"):
            real = class_gradients(network, real_images)
        with timed("synthetic gradients"):
            synthetic = class_gradients(network, images, create_graph=True)
        with timed("distance"):
            loss = matching_loss(
                rule, synthetic, real, distance, k,
                inter_weight=inter_weight, synthetic_shares=shares, real_shares=shares,
            )  # fmt: skip
        with timed("synthetic gradients"):
            (images.grad,) = torch.autograd.grad(loss, images)
        optimizer.step()
        if t == len(epochs):
            return
        with timed("network"):
            network.train()
            learned = TensorDataset(images.detach().flatten(0, 1), labels)
            for _ in range(epochs[t]):
                for inputs, targets in DataLoader(learned, batch_size=train_batch, shuffle=True):
                    of_network.zero_grad()
                    cross_entropy(network(inputs), targets).backward()
                    of_network.step()


@torch.no_grad()
def accuracy(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Share of the images that the network gets right, in percent.

    Args:
        batches: normalised images [n, channels, H, W] and labels [n].
    """
    network.eval()
    right = total = 0
    for images, labels in batches:
        right += int((network(images).argmax(1) == labels).sum())
        total += len(labels)
    return 100 * right / total


def with_library_layers(network: nn.Module) -> nn.Module:
    """The network with torch's own layers where gmlight has a faster one; changed in place."""
    for name, child in network.named_children():
        if isinstance(child, AveragePool):
            setattr(network, name, nn.AvgPool2d(2))
        else:
            with_library_layers(child)
    return network
