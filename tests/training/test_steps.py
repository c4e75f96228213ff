"""Mini-batches of a network's training: sizes, order and labels."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from gmlight.data.augmentation import CutMix, none
from gmlight.data.images import LabelledImages
from gmlight.runtime.seeding import generator, seeded
from gmlight.training.ensemble import Ensemble
from gmlight.training.features import outputs_of, trained_features
from gmlight.training.steps import SGDSettings, steps_per_epoch, training_steps
from helpers.problems import real_images


@pytest.mark.parametrize(("images", "batch", "steps"), [(1, 256, 1), (256, 256, 1), (257, 256, 2), (9, 4, 3)])
def test_the_last_mini_batch_may_be_smaller(images: int, batch: int, steps: int) -> None:
    made = LabelledImages(torch.zeros(images, 1, 2, 2), torch.zeros(images).long())
    assert steps_per_epoch(made, batch) == steps


def test_settings_reach_the_optimizer() -> None:
    optimizer = SGDSettings(batch_size=3, lr=0.2, momentum=0.7, weight_decay=0.03).optimizer(nn.Linear(2, 2))
    found = {key: optimizer.defaults[key] for key in ("lr", "momentum", "weight_decay", "nesterov")}
    assert found == {"lr": 0.2, "momentum": 0.7, "weight_decay": 0.03, "nesterov": False}


class Watching(nn.Linear):
    """Notes the first pixel of each image that it is trained on; the images are numbered."""

    def __init__(self, seen: list[list[int]]) -> None:
        super().__init__(4, 3)
        self.seen = seen

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(images[:, 0, 0, 0].int().tolist())
        return super().forward(images.flatten(1))


def steps_on(images: LabelledImages, batch_size: int, seen: list[list[int]]) -> Iterator[None]:
    network = Watching(seen)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-6)
    rng = torch.Generator().manual_seed(0)
    return training_steps(
        Ensemble([network]), optimizer, images, batch_size=batch_size, rngs=[rng], augmentation=none
    )


def test_every_epoch_has_all_images_in_a_new_order() -> None:
    numbers = torch.arange(9.0).view(9, 1, 1, 1).expand(-1, 1, 2, 2)
    seen: list[list[int]] = []
    steps = steps_on(LabelledImages(numbers, torch.arange(9) % 3), 4, seen)
    for _ in range(9):
        next(steps)
    assert [len(batch) for batch in seen] == [4, 4, 1] * 3
    epochs = [[number for batch in seen[i : i + 3] for number in batch] for i in (0, 3, 6)]
    assert all(sorted(epoch) == list(range(9)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in [*epochs, list(range(9))]}) == 4


def test_a_small_set_is_one_mini_batch_in_its_order() -> None:
    numbers = torch.arange(5.0).view(5, 1, 1, 1).expand(-1, 1, 2, 2)
    seen: list[list[int]] = []
    steps = steps_on(LabelledImages(numbers, torch.arange(5) % 3), 5, seen)
    next(steps)
    next(steps)
    assert seen == [[0, 1, 2, 3, 4]] * 2


class Seeing(nn.Linear):
    """Notes the type of its outputs."""

    def __init__(self, seen: list[torch.dtype]) -> None:
        super().__init__(4, 3)
        self.seen = seen

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = super().forward(images.flatten(1))
        self.seen.append(logits.dtype)
        return logits


@pytest.mark.parametrize("cutmix", [None, CutMix(1.0)])
def test_bfloat16_rounds_the_products_alone(cutmix: CutMix | None) -> None:
    """Weights, loss and optimizer stay in float32; a step errs by as much as eight bits allow."""
    images = LabelledImages(torch.randn(8, 1, 2, 2, generator=generator(0, "images")), torch.arange(8) % 3)
    moved = {}
    for precision in (None, torch.bfloat16):
        seen: list[torch.dtype] = []
        with seeded(0, "network"):
            network = Seeing(seen)
        before = network.weight.detach().clone()
        steps = training_steps(
            Ensemble([network]), torch.optim.SGD(network.parameters(), lr=1.0), images, batch_size=8,
            rngs=[generator(0, "batches")], augmentation=none, cutmix=cutmix, precision=precision,
        )  # fmt: skip
        next(steps)
        assert seen == [precision or torch.float32]
        assert network.weight.dtype is network.weight.grad.dtype is torch.float32  # type: ignore[union-attr]
        moved[precision] = network.weight.detach() - before
    error = (moved[torch.bfloat16] - moved[None]).norm() / moved[None].norm()
    assert 1e-5 < error < 2e-2


def test_features_are_those_of_the_trained_network_in_eval_mode() -> None:
    """Batch norm makes the mode matter; the images are asked for in another order."""
    labels = torch.tensor([0, 1, 1, 2, 0, 2])
    pixels = torch.randint(256, (6, 1, 2, 2), generator=torch.Generator().manual_seed(1)).byte()
    split = real_images(pixels, labels, mean=[0.5], std=[0.25])
    network = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(4, 3))
    before = network[2].weight.detach().clone()
    told: list[float] = []
    sgd = SGDSettings(batch_size=6, lr=0.1, momentum=0.0, weight_decay=0.0)
    rng = torch.Generator().manual_seed(0)
    extract = trained_features(network, split, steps=3, rng=rng, sgd=sgd, progress=told.append)
    assert told == [1, 2, 3]
    assert not torch.equal(network[2].weight, before)
    indices = torch.tensor([4, 0, 2])
    norm = network[0]
    images = split.batch(indices)[0]
    expected = (images - norm.running_mean) / (norm.running_var + 1e-5).sqrt() * norm.weight + norm.bias
    torch.testing.assert_close(outputs_of(extract, split, indices), expected.flatten(1))
    assert norm.num_batches_tracked == 3
