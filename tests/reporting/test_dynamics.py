"""Gradient norms, angle and losses while a network trains on a set."""

import copy
import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from gmlight.builders.data import build_data
from gmlight.builders.evaluators import build_evaluator
from gmlight.data.images import LabelledImages
from gmlight.reporting.dynamics import logarithmic_epochs, measure, trajectory
from gmlight.runtime.compile import Compilation
from gmlight.runtime.seeding import seeded
from gmlight.training.evaluator import Evaluator
from helpers.problems import small_network
from helpers.runs import composed


@pytest.fixture
def network() -> nn.Module:
    with seeded(0, "test"):
        return small_network(channels=1)


def images(count: int, seed: int) -> LabelledImages:
    rng = torch.Generator().manual_seed(seed)
    return LabelledImages(
        torch.randn(count, 1, 8, 8, generator=rng, dtype=torch.double),
        torch.randint(3, (count,), generator=rng),
    )


def test_point_equals_autograd(network: nn.Module) -> None:
    synthetic, real = images(5, 1), images(600, 2)
    twin = copy.deepcopy(network)
    losses = [cross_entropy(twin(each.images), each.labels) for each in (synthetic, real)]
    g, h = (
        torch.cat([layer.flatten() for layer in torch.autograd.grad(loss, list(twin.parameters()))])
        for loss in losses
    )
    point = measure(network, 7, synthetic, real)
    assert point.epoch == 7
    assert point.norm_synthetic == pytest.approx(g.norm().item(), rel=1e-10)
    assert point.norm_real == pytest.approx(h.norm().item(), rel=1e-10)
    assert point.loss_synthetic == pytest.approx(losses[0].item(), rel=1e-10)
    assert point.loss_real == pytest.approx(losses[1].item(), rel=1e-10)
    cosine = (torch.dot(g, h) / g.norm() / h.norm()).item()
    assert point.angle == pytest.approx(math.degrees(math.acos(cosine)), rel=1e-8)


def test_angles_of_a_gradient_with_itself_and_its_opposite(network: nn.Module) -> None:
    one = images(6, 1)
    assert measure(network, 0, one, one).angle == pytest.approx(0, abs=1e-4)
    # With two classes of equal logits, the loss of one falls as the other rises.
    head = nn.Sequential(nn.Flatten(), nn.Linear(64, 2, bias=False)).double()
    nn.init.zeros_(head[1].weight)
    other = LabelledImages(one.images, torch.zeros_like(one.labels))
    opposite = LabelledImages(one.images, torch.ones_like(one.labels))
    assert measure(head, 0, other, opposite).angle == pytest.approx(180, abs=1e-4)


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    config = composed("architecture.width=8", "evaluation.epochs=6")
    data = build_data(config).load(torch.device("cpu"))
    return build_evaluator(config, config.architecture, data, Compilation(False, print))


def test_measuring_does_not_change_the_evaluation_network(evaluator: Evaluator) -> None:
    train = evaluator.data.train
    small = LabelledImages(*train.batch(torch.arange(0, len(train), 100)))
    real = LabelledImages(*train.batch(torch.arange(50)))
    points = list(trajectory(evaluator, small, real, 1, {0, 3, 6}))
    assert [point.epoch for point in points] == [0, 3, 6]
    trained = evaluator.trained(small, [1]).only
    assert points[-1] == measure(trained, 6, small, real)
    assert points[-1].loss_synthetic < points[0].loss_synthetic


@pytest.mark.parametrize("last", [1, 2, 100, 300])
def test_epochs_are_spread_logarithmically(last: int) -> None:
    epochs = sorted(logarithmic_epochs(last, 40))
    assert (epochs[0], epochs[-1]) == (0, last)
    assert len(epochs) <= 41
    gaps = [b - a for a, b in itertools.pairwise(epochs)]
    assert max(a - b for a, b in itertools.pairwise([0, *gaps])) <= 1  # up to rounding, gaps only grow


def test_epochs_by_hand() -> None:
    assert logarithmic_epochs(100, 4) == {0, 1, 10, 100}
    assert logarithmic_epochs(1000, 5) == {0, 1, 10, 100, 1000}
    assert logarithmic_epochs(1000, 2) == {0, 1, 1000}  # the first epoch is always measured
