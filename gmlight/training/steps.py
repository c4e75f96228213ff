"""A network trains on a training set: in the inner loop of condensation, in evaluation, for herding."""

import functools
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gmlight.data.augmentation import Augmentation, CutMix
from gmlight.data.images import TrainingSet
from gmlight.runtime.seeding import to_device
from gmlight.training.ensemble import Ensemble

NetworkFactory = Callable[..., nn.Module]


def steps_per_epoch(images: TrainingSet, batch_size: int) -> int:
    """Mini-batches in an epoch, the last of which may be smaller."""
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
) -> Iterator[None]:
    """Epoch after epoch without end; each `next` is one step on a mini-batch (Algorithm 1, lines 11-12).

    The loss of each network is the mean cross-entropy on mini-batches and augmentations of its own, drawn
    from its own generator. Up to one batch, the set is one step and its order does not matter.

    Args:
        cutmix: applied to the augmented images, each of which then has two labels.
    """
    loss = _mean_loss if cutmix is None else functools.partial(_mixed_loss, cutmix=cutmix, rngs=rngs)
    for inputs, labels in _batches(images, batch_size, rngs):
        networks.train()
        augmented = [augmentation(of_one, rng) for of_one, rng in zip(inputs, rngs, strict=True)]
        optimizer.zero_grad(set_to_none=True)
        loss(networks, augmented, labels).backward()
        optimizer.step()
        yield


def _mean_loss(networks: Ensemble, images: Sequence[Tensor], labels: Tensor) -> Tensor:
    # Summed over the networks, of images [batch, channels, H, W] of each, and labels [n * batch].
    logits = networks(torch.stack(list(images)))  # [n, batch, classes]
    return len(images) * cross_entropy(logits.flatten(0, 1), labels)


def _mixed_loss(
    networks: Ensemble,
    images: Sequence[Tensor],
    labels: Tensor,
    *,
    cutmix: CutMix,
    rngs: Sequence[torch.Generator],
) -> Tensor:
    mixed = [cutmix(of_one, rng) for of_one, rng in zip(images, rngs, strict=True)]
    logits = networks(torch.stack([of_one for of_one, _, _ in mixed]))
    losses = [
        share * cross_entropy(of_one, own)
        + (1 - share) * cross_entropy(of_one, own[to_device(order, own.device)])
        for of_one, own, (_, order, share) in zip(
            logits, labels.unflatten(0, logits.shape[:2]), mixed, strict=True
        )
    ]
    return torch.stack(losses).sum()


def _batches(
    images: TrainingSet, batch_size: int, rngs: Sequence[torch.Generator]
) -> Iterator[tuple[Tensor, Tensor]]:
    # Without end: images [n, batch, channels, H, W] and labels [n * batch].
    everything = torch.arange(len(images)).expand(len(rngs), -1)
    if len(images) <= batch_size:
        inputs, labels = images.batch(everything.flatten())
        while True:
            yield inputs.unflatten(0, everything.shape), labels
    while True:
        order = torch.stack([torch.randperm(len(images), generator=rng) for rng in rngs])
        for indices in order.split(batch_size, 1):  # [n, batch]
            inputs, labels = images.batch(indices.flatten())
            yield inputs.unflatten(0, indices.shape), labels
