"""Training steps of networks on a training set: for condensation, evaluation and features."""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gmlight.data.augmentation import Augmentation, CutMix
from gmlight.data.images import TrainingSet
from gmlight.runtime.autocast import autocast
from gmlight.runtime.seeding import to_device
from gmlight.training.ensemble import Ensemble

NetworkFactory = Callable[..., nn.Module]
# n tensors [batch, channels, H, W] -> logits [n, batch, classes].
Forward = Callable[[Sequence[Tensor]], Tensor]
# The same images and their logits -> a loss, summed over the networks.
ExtraLoss = Callable[[Sequence[Tensor], Tensor], Tensor]


@dataclass(frozen=True)
class SGDSettings:
    """Mini-batches and optimizer of a network's training; the defaults are those of evaluation (section 4.1).

    Args:
        batch_size: images in a mini-batch.
        lr: learning rate.
        momentum: of SGD.
        weight_decay: of SGD.
    """

    batch_size: int = 256
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4

    def optimizer(self, network: nn.Module) -> torch.optim.SGD:
        """Makes the optimizer of a network's parameters."""
        return self.over(network.parameters())

    def over(self, parameters: Iterator[nn.Parameter]) -> torch.optim.SGD:
        """Makes the optimizer of some parameters."""
        return torch.optim.SGD(parameters, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)


def steps_per_epoch(images: TrainingSet, batch_size: int) -> int:
    """Returns the number of mini-batches in an epoch; the last one may be smaller."""
    return -(-len(images) // batch_size)


def training_steps(
    networks: Ensemble,
    optimizer: torch.optim.Optimizer,
    images: TrainingSet,
    *,
    batch_size: int,
    rngs: Sequence[torch.Generator],
    augmentation: Augmentation,
    cutmix: CutMix | None = None,
    precision: torch.dtype | None = None,
    extra_loss: ExtraLoss | None = None,
) -> Iterator[None]:
    """Trains networks endlessly; each `next` is one step on a mini-batch (Algorithm 1, lines 11-12).

    Mini-batches and augmentations of each network are drawn from its generator. Its loss is the mean
    cross-entropy, with soft labels that of their probabilities: -sum_c p_c log q_c. A set of at most
    `batch_size` images is one mini-batch, in the order of the set.

    Args:
        networks: n networks.
        optimizer: of the networks' parameters.
        images: the training set.
        batch_size: images in a mini-batch.
        rngs: a CPU generator for each network.
        augmentation: applied to each mini-batch.
        cutmix: applied after the augmentation; each image then has two labels. None: not applied.
        precision: of convolutions and matrix products, by autocast; None: that of the networks.
        extra_loss: added to the loss; None: nothing.
    """
    forward = functools.partial(_logits, networks, precision)
    loss = _mean_loss if cutmix is None else functools.partial(_mixed_loss, cutmix=cutmix, rngs=rngs)
    for inputs, labels in _batches(images, batch_size, rngs):
        networks.train()
        augmented = [augmentation(batch, rng) for batch, rng in zip(inputs, rngs, strict=True)]
        optimizer.zero_grad(set_to_none=True)
        if extra_loss is None:
            loss(forward, augmented, labels).backward()
        else:
            _with_extra(extra_loss, forward, loss, augmented, labels).backward()
        optimizer.step()
        yield


def _logits(networks: Ensemble, precision: torch.dtype | None, images: Sequence[Tensor]) -> Tensor:
    # images: n tensors [batch, channels, H, W] -> [n, batch, classes].
    with autocast(images[0].device, precision):
        return networks(torch.stack(list(images))).to(images[0].dtype)


def _with_extra(
    extra: ExtraLoss, forward: Forward, loss: Callable[..., Tensor], images: Sequence[Tensor], labels: Tensor
) -> Tensor:
    added = list[Tensor]()

    def watched(inputs: Sequence[Tensor]) -> Tensor:
        logits = forward(inputs)
        added.append(extra(inputs, logits))
        return logits

    return loss(watched, images, labels) + torch.stack(added).sum()


def _mean_loss(forward: Forward, images: Sequence[Tensor], labels: Tensor) -> Tensor:
    # Sum over the networks. images: n tensors [batch, channels, H, W]; labels: [n * batch], or
    # probabilities [n * batch, C].
    logits = forward(images)
    return len(images) * cross_entropy(logits.flatten(0, 1), labels)


def _mixed_loss(
    forward: Forward,
    images: Sequence[Tensor],
    labels: Tensor,
    *,
    cutmix: CutMix,
    rngs: Sequence[torch.Generator],
) -> Tensor:
    # As _mean_loss; both labels of a mixed image are weighted by area.
    mixed = [cutmix(batch, rng) for batch, rng in zip(images, rngs, strict=True)]
    logits = forward([batch for batch, _, _ in mixed])
    losses = [
        share * cross_entropy(outputs, targets)
        + (1 - share) * cross_entropy(outputs, targets[to_device(order, targets.device)])
        for outputs, targets, (_, order, share) in zip(
            logits, labels.unflatten(0, logits.shape[:2]), mixed, strict=True
        )
    ]
    return torch.stack(losses).sum()


def _batches(
    images: TrainingSet, batch_size: int, rngs: Sequence[torch.Generator]
) -> Iterator[tuple[Tensor, Tensor]]:
    # Endless: images [n, batch, channels, H, W] and labels [n * batch], or probabilities [n * batch, C].
    if len(images) <= batch_size:
        indices = torch.arange(len(images)).expand(len(rngs), -1)
        inputs, labels = images.batch(indices.flatten())
        while True:
            yield inputs.unflatten(0, indices.shape), labels
    while True:
        order = torch.stack([torch.randperm(len(images), generator=rng) for rng in rngs])
        for indices in order.split(batch_size, 1):  # [n, batch]
            inputs, labels = images.batch(indices.flatten())
            yield inputs.unflatten(0, indices.shape), labels
