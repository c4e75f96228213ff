"""Fresh networks, trained from scratch, each with its own seed."""

from collections.abc import Iterator

import pytest
import torch

from gmlight.artifacts.results import Accuracy
from gmlight.builders.data import build_data
from gmlight.builders.evaluators import build_evaluator
from gmlight.runtime.compile import Compilation
from gmlight.training.ensemble import Ensemble
from gmlight.training.evaluator import Evaluator
from helpers.runs import composed

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    config = composed("architecture.width=8", "evaluation.epochs=4")
    data = build_data(config).load(CPU)
    return build_evaluator(config, config.architecture, data, Compilation(False, print))


def test_network_depends_on_its_index_alone(evaluator: Evaluator) -> None:
    three = evaluator(evaluator.data.train, 3)
    assert evaluator(evaluator.data.train, 2).values == three.values[:2]
    assert len(set(three.values)) > 1


def test_accuracy_counts_correct_test_images(evaluator: Evaluator) -> None:
    class Ones(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.eye(10)[1].expand(len(images), 10)

    test = evaluator.data.test
    (accuracy,) = evaluator.accuracies(Ensemble([Ones()]))
    assert accuracy == pytest.approx(100 * test.counts[1] / len(test))


def test_learning_rate_drops_at_half_of_the_epochs(
    evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = []

    def record(
        network: object, optimizer: torch.optim.Optimizer, *args: object, **keywords: object
    ) -> Iterator[None]:
        while True:
            group = optimizer.param_groups[0]
            assert (group["momentum"], group["weight_decay"]) == (0.9, 5e-4)
            rates.append(round(group["lr"], 6))
            yield

    monkeypatch.setattr("gmlight.training.evaluator.training_steps", record)
    evaluator.trained(evaluator.data.train, [0])
    assert rates == [0.01] * 12 + [0.001] * 12  # 4 epochs of 6 mini-batches


def test_progress_is_reported_per_epoch(evaluator: Evaluator) -> None:
    told: list[float] = []
    evaluator(evaluator.data.train, 3, told.append, {1: 50.0})
    within = [epoch / 4 for epoch in range(5)]
    assert told == [1 + share for share in [*within, 1]] + [2 + share for share in [*within, 1]]


def test_training_improves_accuracy(evaluator: Evaluator) -> None:
    (untrained,) = evaluator.accuracies(Ensemble([evaluator.factory()]))
    assert evaluator(evaluator.data.train, 1).mean > untrained + 20


def test_population_std() -> None:
    accuracy = Accuracy([90.0, 92.0], epochs=1, protocol="plain")
    assert (accuracy.mean, accuracy.std) == (91.0, 1.0)
    assert str(accuracy) == "91.00 ± 1.00"
