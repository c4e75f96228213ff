"""The plain loop of the benchmark computes the same as gmlight."""

import copy
import functools

import lightning
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from gmlight.matching import distances, reference
from gmlight.runtime.profiling import PARTS, PartTimer
from gmlight.runtime.seeding import seeded
from helpers.condensers import IMAGE_OPTIMIZER, NETWORK_OPTIMIZER, Stream, condenser, real_batches
from helpers.problems import random_images, rule_named, small_network


@pytest.mark.parametrize("rule", reference.RULES)
def test_outer_iterations(rule: str) -> None:
    images, epochs = random_images(3, 2, 2, 8, 8), [2, 1]
    batches = real_batches(outer=2, updates=3, classes=3)
    module = condenser(images, 3, epochs, matcher={"rule": rule_named(rule)})
    parts = PartTimer(torch.device("cpu"))
    trainer = lightning.Trainer(
        accelerator="cpu", max_steps=6, max_epochs=-1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, profiler=parts,
    )  # fmt: skip
    trainer.fit(module, DataLoader(Stream(batches), batch_size=None))
    assert set(parts.seconds) == set(PARTS)

    distance = functools.partial(distances.cos_euclid, weight=1.0)
    loss = reference.MatchingLoss(rule, distance, 3, [1 / 3] * 3, [1 / 3] * 3)
    learned = images.clone().requires_grad_()
    optimizer = IMAGE_OPTIMIZER([learned])
    for k in range(2):
        with seeded(3, "network", k):
            network = reference.with_library_layers(small_network())
        reference.outer_iteration(
            learned,
            optimizer,
            network,
            [batch.images for batch in batches[3 * k : 3 * k + 3]],
            functools.partial(loss, k=k),
            reference.NetworkTraining(epochs, NETWORK_OPTIMIZER, batch_size=256),
        )
    torch.testing.assert_close(module.synthetic().detach(), learned.detach(), rtol=1e-9, atol=1e-11)


def test_library_layers() -> None:
    network = small_network()
    stock = reference.with_library_layers(copy.deepcopy(network))
    assert any(isinstance(module, nn.AvgPool2d) for module in stock.modules())
    images = random_images(3, 2, 8, 8)
    torch.testing.assert_close(stock(images), network(images), rtol=1e-12, atol=1e-14)


def test_accuracy() -> None:
    class First(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.eye(3)[0].expand(len(images), 3)

    labels = torch.tensor([0, 1, 0, 2, 0])
    batches = [(random_images(5, 2, 8, 8), labels), (random_images(1, 2, 8, 8), labels[:1])]
    assert reference.accuracy(First(), batches) == pytest.approx(100 * 4 / 6)
