"""A network trains on a training set: in the inner loop of condensation, in evaluation, for herding."""

from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from gmlight.augmentation import Augmentation
from gmlight.data import TrainingSet

NetworkFactory = Callable[..., nn.Module]


def steps_per_epoch(images: TrainingSet, batch_size: int) -> int:
    """Mini-batches in an epoch, the last of which may be smaller."""
    return -(-len(images) // batch_size)


def training_steps(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: TrainingSet,
    *,
    batch_size: int,
    rng: torch.Generator,
    augmentation: Augmentation,
) -> Iterator[None]:
    """Epoch after epoch without end; each `next` is one step on a mini-batch (Algorithm 1, lines 11-12).

    The loss is the mean cross-entropy. Up to one batch, the set is one step and its order does not matter.
    """
    everything = len(images) <= batch_size
    while True:
        order = torch.arange(len(images)) if everything else torch.randperm(len(images), generator=rng)
        for indices in order.split(batch_size):
            network.train()
            inputs, labels = images.batch(indices)
            optimizer.zero_grad(set_to_none=True)
            cross_entropy(network(augmentation(inputs, rng)), labels).backward()
            optimizer.step()
            yield
