"""Fresh networks, trained from scratch, each with its own seed."""

import dataclasses
import functools
from collections.abc import Iterator

import pytest
import torch

from gmlight.architectures.blocks import LayerNames
from gmlight.architectures.convnet import ConvNet
from gmlight.artifacts.results import Accuracy
from gmlight.builders.data import build_data
from gmlight.builders.evaluators import build_evaluator, build_protocol
from gmlight.data.augmentation import none
from gmlight.data.datamodule import BatchSizes, CondensationData
from gmlight.data.source import DataSource
from gmlight.runtime.compile import Compilation
from gmlight.training.ensemble import Ensemble
from gmlight.training.evaluator import Evaluator
from gmlight.training.protocol import EvaluationProtocol
from gmlight.training.steps import SGDSettings
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


def test_the_defaults_in_python_are_the_protocol_of_conf() -> None:
    config = composed("dataset=cifar10", "scale=paper")
    built = build_protocol(config)
    assert dataclasses.replace(built, augmentation=none) == EvaluationProtocol()
    assert built.augmentation.protocol == "none"
    data = build_data(config)
    assert data.batches == BatchSizes()
    in_memory = CondensationData(DataSource.from_tensors((torch.zeros(1, 1, 8, 8), torch.zeros(1).long())))
    assert data._device_share == in_memory._device_share
    names = {key: config.architecture[key] for key in ("activation", "norm", "pooling")}
    assert LayerNames() == LayerNames(**names)


def test_an_evaluator_by_hand() -> None:
    images = torch.randint(256, (20, 1, 8, 8), dtype=torch.uint8)
    data = CondensationData(DataSource.from_tensors((images, torch.arange(20) % 2))).load(CPU)
    factory = functools.partial(ConvNet, channels=1, size=(8, 8), classes=2, width=4, depth=1)
    accuracy = Evaluator(factory, data, EvaluationProtocol(epochs=2))(data.train, networks=2)
    assert (len(accuracy.values), accuracy.epochs, accuracy.protocol) == (2, 2, "plain")
    other = Evaluator(factory, data, EvaluationProtocol(sgd=SGDSettings(lr=0.1))).with_epochs(3)
    assert (other.protocol.epochs, other.protocol.sgd.lr) == (3, 0.1)
