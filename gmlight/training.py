"""A network trains on a training set: in the inner loop of condensation, in evaluation, for herding."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gmlight.augmentation import Augmentation
from gmlight.data import TrainingSet
from gmlight.ensembles import Ensemble

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
) -> Iterator[None]:
    """Epoch after epoch without end; each `next` is one step on a mini-batch (Algorithm 1, lines 11-12).

    The loss of each network is the mean cross-entropy on mini-batches and augmentations of its own, drawn
    from its own generator. Up to one batch, the set is one step and its order does not matter.
    """
    for inputs, labels in _batches(images, batch_size, rngs):
        networks.train()
        augmented = [augmentation(of_one, rng) for of_one, rng in zip(inputs, rngs, strict=True)]
        logits = networks(torch.stack(augmented))  # [n, batch, classes]
        optimizer.zero_grad(set_to_none=True)
        (len(rngs) * cross_entropy(logits.flatten(0, 1), labels)).backward()
        optimizer.step()
        yield


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
