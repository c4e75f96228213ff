"""Losses are sums over images, whatever their batches."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from gmlight.matching.losses import IMAGES_AT_ONCE, in_batches, summed_loss


def test_sum_over_batches_of_different_sizes() -> None:
    network = nn.Linear(5, 3).double()
    inputs = torch.randn(2 * IMAGES_AT_ONCE + 7, 5, generator=torch.Generator().manual_seed(0)).double()
    labels = torch.arange(len(inputs)) % 3
    batches = list(in_batches(inputs, labels))
    assert [len(targets) for _, targets in batches] == [IMAGES_AT_ONCE, IMAGES_AT_ONCE, 7]
    total, count = summed_loss(network, batches)
    assert count == len(inputs)
    torch.testing.assert_close(total / count, cross_entropy(network(inputs), labels).detach())
    assert not total.requires_grad
