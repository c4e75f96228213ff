"""The naive twin: `matching.reference` with loops over rows too, and Algorithm 1 by hand to the last step."""

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gmlight.matching import reference
from gmlight.matching.reference import Gradients, class_gradients


def distance(name: str, weight: float, a: Tensor, b: Tensor) -> Tensor:
    """Distance between the gradients of one layer; sum over rows."""
    total = torch.zeros((), dtype=a.dtype)
    for row_a, row_b in zip(a.flatten(1), b.flatten(1), strict=True):
        terms = name.split("_")
        if "cos" in terms:
            norms = torch.clamp(row_a.norm(), min=1e-8) * torch.clamp(row_b.norm(), min=1e-8)
            total = total + 1 - (row_a @ row_b) / norms
        if "euclid" in terms:
            total = total + weight * (row_a - row_b).norm()
        if "sse" in terms:
            total = total + weight * ((row_a - row_b) ** 2).sum()
        if "sae" in terms:
            total = total + weight * sum(abs(x - y) for x, y in zip(row_a, row_b, strict=True))
        if "mse" in terms:
            total = total + weight * ((row_a - row_b) ** 2).sum() / len(row_a)
    return total


def matching_loss(
    rule: str,
    synthetic: Gradients,
    real: Gradients,
    name: str,
    weight: float,
    k: int,
    inter_weight: float,
    synthetic_shares: list[float],
    real_shares: list[float],
) -> Tensor:
    loss = reference.MatchingLoss(
        rule, functools.partial(distance, name, weight), inter_weight, synthetic_shares, real_shares
    )
    return loss(synthetic, real, k)


def condense(
    images: Tensor,
    networks: list[nn.Module],
    real: list[list[list[Tensor]]],
    *,
    rule: str,
    name: str,
    weight: float,
    epochs: list[int],
    image_lr: float,
    image_momentum: float,
    network_lr: float,
    network_momentum: float,
    batches: list[list[Tensor]],
    statistics: list[list[Tensor]] | None = None,
    seen: Callable[[int, int, int, Tensor], Tensor] = lambda k, t, c, images: images,
    form: Callable[[Tensor], Tensor] = lambda images: images,
    trained_on: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, list[float]]:
    """Runs Algorithm 1 with plain loops.

    real[k][t][c]; batches: the mini-batches of every network epoch, in order; statistics[k][t]: the images
    that move the running statistics of batch norm, which stay as they are while gradients are matched.
    seen: what the images of class c are matched as; form: the map from what is learned to images; trained_on:
    images and labels of the network's epochs, where these are not S.
    """
    classes, ipc = form(images).shape[:2]
    labels = torch.arange(classes).repeat_interleave(ipc)
    images, velocity, losses = images.clone(), torch.zeros_like(images), []
    batches_left = iter(batches)
    shares = [1 / classes] * classes
    for k, network in enumerate(networks):
        parameters = list(network.parameters())
        velocities = [torch.zeros_like(p) for p in parameters]
        for t in range(len(epochs) + 1):
            if statistics is not None:
                network.train()
                network(statistics[k][t])
            network.eval()
            images.requires_grad_()
            ours = [seen(k, t, c, of_class) for c, of_class in enumerate(form(images))]
            theirs = [seen(k, t, c, of_class) for c, of_class in enumerate(real[k][t])]
            loss = matching_loss(
                rule, class_gradients(network, ours, create_graph=True),
                class_gradients(network, theirs), name, weight, k, classes, shares, shares,
            )  # fmt: skip
            losses.append(loss.item())
            (gradient,) = torch.autograd.grad(loss, images)
            velocity = image_momentum * velocity + gradient
            images = images.detach() - image_lr * velocity
            if t == len(epochs):
                continue
            flat, targets = trained_on or (form(images).flatten(0, 1), labels)
            network.train()
            for _ in range(epochs[t]):
                for indices in next(batches_left):
                    step = torch.autograd.grad(
                        cross_entropy(network(flat[indices]), targets[indices]), parameters
                    )
                    for i, (parameter, gradient) in enumerate(zip(parameters, step, strict=True)):
                        velocities[i] = network_momentum * velocities[i] + gradient
                        parameter.data -= network_lr * velocities[i]
    assert math.isfinite(losses[-1])
    return images, losses
