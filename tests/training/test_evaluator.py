"""Fresh networks, trained from scratch, each with its own seed."""

import copy
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from rich.console import Console
from torch.nn.functional import cross_entropy

from gmlight.architectures.blocks import LayerNames
from gmlight.architectures.convnet import ConvNet
from gmlight.artifacts.results import Accuracy
from gmlight.builders.data import build_data
from gmlight.builders.evaluators import build_evaluator, build_protocol
from gmlight.data.augmentation import CutMix, none
from gmlight.data.datamodule import BatchSizes, CondensationData
from gmlight.data.images import LabelledImages
from gmlight.data.source import DataSource
from gmlight.runtime.compile import Compilation
from gmlight.runtime.seeding import generator
from gmlight.training.ensemble import Ensemble
from gmlight.training.evaluator import EvaluatedSet, Evaluator, evaluate_sets
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


def with_test_labels(labels: list[int], train: int = 12) -> CondensationData:
    """Random images of three classes; the labels are those of the test set."""
    rng = torch.Generator().manual_seed(0)
    pairs = [
        (torch.randint(256, (len(of_split), 2, 4, 4), generator=rng).byte(), of_split)
        for of_split in (torch.arange(train) % 3, torch.tensor(labels))
    ]
    return CondensationData(DataSource.from_tensors(*pairs)).load(CPU)


class Constant(torch.nn.Module):
    """Answers one class in eval mode, and another one in train mode."""

    def __init__(self, answer: int, in_training: int) -> None:
        super().__init__()
        self.answer, self.in_training = answer, in_training
        self.bias = torch.nn.Parameter(torch.zeros(3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        chosen = self.in_training if self.training else self.answer
        return (torch.eye(3)[chosen] + 0 * self.bias).expand(len(images), 3)


@pytest.mark.parametrize(("answer", "percent"), [(0, 10.0), (1, 60.0), (2, 30.0)])
@pytest.mark.parametrize("networks", [1, 2])
def test_accuracy_is_the_share_of_all_test_images_in_eval_mode(
    answer: int, percent: float, networks: int
) -> None:
    """Of one image of class 0, six of class 1 and three of class 2."""
    evaluator = Evaluator(torch.nn.Identity, with_test_labels([1, 1, 0, 1, 2, 1, 2, 1, 2, 1]), test_batch=4)
    ensemble = Ensemble([Constant(answer, (answer + 1) % 3) for _ in range(networks)]).train()
    assert evaluator.accuracies(ensemble) == pytest.approx([percent] * networks)


def test_a_compiled_test_uses_the_running_statistics_of_each_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The compiled function is made once, from the first network, for the weights and statistics of all."""

    class NotCompiled:
        def __init__(self, function: Callable[..., torch.Tensor], *_: object) -> None:
            self.function = function
            made.append(self)

        def __call__(self, *arguments: object) -> torch.Tensor:
            return self.function(*arguments)

    made: list[NotCompiled] = []
    monkeypatch.setattr("gmlight.training.evaluator.Compiled", NotCompiled)
    data = with_test_labels([0, 1, 2] * 20, train=60)
    protocol = EvaluationProtocol(epochs=3, sgd=SGDSettings(batch_size=20, lr=0.1))

    def network() -> torch.nn.Module:
        return torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.BatchNorm1d(32), torch.nn.Linear(32, 16), torch.nn.BatchNorm1d(16),
            torch.nn.Linear(16, 3),
        )  # fmt: skip

    found = []
    for choice in (False, True):
        evaluator = Evaluator(network, data, protocol, compilation=Compilation(choice, print))
        monkeypatch.setattr(Compilation, "should_compile", lambda self, *_: self._choice)
        logits = []
        for member in (0, 1):
            ensemble = evaluator.trained(data.train, [member]).eval()
            evaluator._prepare_test(ensemble, 2)
            logits.append(evaluator._logits(ensemble, data.test.batch(torch.arange(60))[0]))
        found.append(torch.stack(logits))
    assert len(made) == 1
    torch.testing.assert_close(found[0], found[1])


def test_each_network_has_its_own_batches_and_its_own_start() -> None:
    """From equal weights, networks differ by their batches; fresh networks differ already."""
    data = with_test_labels([0, 1, 2])
    torch.manual_seed(0)
    same = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32, 3))

    def weights(evaluator: Evaluator, member: int) -> torch.Tensor:
        return next(evaluator.trained(data.train, [member]).parameters()).detach()

    protocol = EvaluationProtocol(epochs=1, sgd=SGDSettings(batch_size=5))
    evaluator = Evaluator(lambda: copy.deepcopy(same), data, protocol)
    assert torch.equal(weights(evaluator, 1), weights(evaluator, 1))
    assert not torch.equal(weights(evaluator, 0), weights(evaluator, 1))
    assert not torch.equal(weights(evaluator, 1), weights(dataclasses.replace(evaluator, seed=1), 1))
    fresh = Evaluator(lambda: torch.nn.Linear(3, 3), data)
    first, second = (next(fresh.training(data.train, [member])).only.weight for member in (0, 1))
    assert not torch.equal(first, second)


def test_a_network_trains_on_augmented_and_mixed_images() -> None:
    """One epoch of two mini-batches, repeated by hand."""
    data, drawn = with_test_labels([0, 1, 2], train=9), []

    def shifted(images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        drawn.append(torch.rand((), generator=rng).item())
        return images + drawn[-1]

    class Mixed(CutMix):
        def __call__(self, images: torch.Tensor, rng: torch.Generator) -> tuple:
            result = super().__call__(images, rng)
            batches.append((images, *result))
            return result

    batches: list[tuple] = []
    protocol = EvaluationProtocol(
        epochs=1,
        sgd=SGDSettings(batch_size=6, lr=0.1, momentum=0.6, weight_decay=0.03),
        augmentation=shifted,
        cutmix=Mixed(1.0),
    )
    evaluator = Evaluator(
        lambda: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32, 3)), data, protocol
    )
    trained = evaluator.trained(data.train, [4])
    rng = generator(0, "evaluation-batches", 4)
    order = torch.randperm(9, generator=rng)
    images, labels = data.train.batch(torch.arange(9))
    network = evaluator._fresh(4)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.6, weight_decay=0.03)
    assert len(drawn) == len(batches) == 2
    for shift, (given, mixed, partners, share), indices in zip(drawn, batches, order.split(6), strict=True):
        torch.testing.assert_close(given, images[indices] + shift)
        optimizer.zero_grad()
        logits, targets = network(mixed), labels[indices]
        loss = share * cross_entropy(logits, targets) + (1 - share) * cross_entropy(logits, targets[partners])
        loss.backward()
        optimizer.step()
    assert min(share for *_, share in batches) < 1
    for actual, expected in zip(trained.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize(("epochs", "before"), [(4, 2), (5, 2), (1, 1), (2, 1)])
def test_learning_rate_drops_at_half_of_the_epochs(
    evaluator: Evaluator, epochs: int, before: int, monkeypatch: pytest.MonkeyPatch
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
    evaluator.with_epochs(epochs).trained(evaluator.data.train, [0])
    assert rates == [0.01] * 6 * before + [0.001] * 6 * (epochs - before)  # epochs of 6 mini-batches


@pytest.mark.parametrize(
    ("epochs", "changes"), [(1000, [666, 833]), (300, [200, 250]), (6, [4, 5]), (2, [1, 1]), (1, [])]
)
def test_learning_rate_falls_twice_in_the_protocol_of_idc(epochs: int, changes: list[int]) -> None:
    """MultiStepLR at 2 * epochs // 3 and 5 * epochs // 6, by 0.2 each."""
    config = composed("evaluation=idc", f"evaluation.epochs={epochs}")
    protocol = build_protocol(config)
    rates = [protocol.lr(epoch) for epoch in range(epochs)]
    expected = [0.01 * 0.2 ** sum(epoch >= change for change in changes) for epoch in range(epochs)]
    assert rates == pytest.approx(expected, rel=1e-12)


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


def test_rows_of_several_sets_and_networks() -> None:
    """Set by set, then network by network; 4 bytes a stored value, which are fewer than the images have."""

    def evaluator(values: list[float]) -> Any:
        return lambda images, networks, progress, known: Accuracy(
            values[:networks], epochs=3, protocol="plain"
        )

    images = LabelledImages(torch.zeros(6, 1, 4, 5), torch.arange(6), 7)
    sets = [EvaluatedSet("a", images, 2), EvaluatedSet("b", images, 1)]
    rows = evaluate_sets({"x": evaluator([1.0, 2.0]), "y": evaluator([3.0, 4.0])}, sets, Console(quiet=True))
    assert [(row.name, row.architecture, row.accuracy.values) for row in rows] == [
        ("a", "x", [1.0, 2.0]), ("a", "y", [3.0, 4.0]), ("b", "x", [1.0]), ("b", "y", [3.0]),
    ]  # fmt: skip
    assert {(row.images, row.storage_bytes) for row in rows} == {(6, 28)}
