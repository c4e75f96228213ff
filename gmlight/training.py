"""Epochs of a network on a training set: in the inner loop of condensation and in evaluation."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from gmlight.augmentation import Augmentation
from gmlight.data import TrainingSet


def train_epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: TrainingSet,
    *,
    batch_size: int,
    rng: torch.Generator,
    augmentation: Augmentation,
) -> None:
    """One epoch in mini-batches of the mean cross-entropy (Algorithm 1, lines 11-12).

    Up to one batch, the whole set is one step and its order does not matter.
    """
    network.train()
    everything = len(images) <= batch_size
    order = torch.arange(len(images)) if everything else torch.randperm(len(images), generator=rng)
    for indices in order.split(batch_size):
        inputs, labels = images.batch(indices)
        optimizer.zero_grad(set_to_none=True)
        cross_entropy(network(augmentation(inputs, rng)), labels).backward()
        optimizer.step()
