"""Names and values of accuracies on dashboards, and when a quick evaluation is due."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from gmlight.artifacts.results import Accuracy, Evaluation
from gmlight.artifacts.run_folder import RunFolder
from gmlight.callbacks import evaluation
from gmlight.callbacks.evaluation import QuickEvaluation, accuracy_metrics, metrics_of_all
from gmlight.data.images import LabelledImages
from helpers.condensers import condenser
from helpers.problems import named_classes, random_images


def test_logged_std_is_that_of_the_networks() -> None:
    accuracy = Accuracy([80.0, 82.0, 90.0], epochs=1, protocol="plain")  # deviations -4, -2, 6
    std = pytest.approx((56 / 3) ** 0.5)
    assert accuracy_metrics(accuracy) == {"accuracy/mean": 84.0, "accuracy/std": std}
    named = {"accuracy/random/mlp/mean": 84.0, "accuracy/random/mlp/std": std}
    assert accuracy_metrics(accuracy, "random/mlp") == named


class Logger:
    def __init__(self) -> None:
        self.lines: list[tuple[dict, int]] = []

    def log_metrics(self, metrics: dict, step: int) -> None:
        self.lines.append((metrics, step))

    def save(self) -> None: ...


@pytest.mark.parametrize(("done", "due"), [(1, False), (2, True), (3, False), (4, True), (6, False)])
def test_a_quick_evaluation_every_two_iterations_but_the_last(tmp_path: Path, done: int, due: bool) -> None:
    """Of a run of six iterations of three updates; the evaluation at the end is not a quick one."""
    images = LabelledImages(torch.zeros(2, 1, 8, 8), torch.arange(2))
    asked: list[int] = []

    def evaluator(given: LabelledImages, networks: int) -> Accuracy:
        assert given is images
        asked.append(networks)
        return Accuracy([50.0, 54.0], epochs=1, protocol="plain")

    evaluator.data = SimpleNamespace(info=named_classes("a", "b"))  # type: ignore[attr-defined]
    logger = Logger()
    trainer = SimpleNamespace(global_step=3 * done, max_steps=18, should_stop=False, loggers=[logger])
    module = SimpleNamespace(synthetic=SimpleNamespace(labelled=lambda: images), updates=3)
    quick = QuickEvaluation(evaluator, 2, 7, RunFolder(tmp_path), Console(quiet=True))  # type: ignore[arg-type]
    quick._evaluate_if_due(trainer, module, done)  # type: ignore[arg-type]
    assert asked == [7] * due
    line = {"iteration": done, "accuracy/mean": 52.0, "accuracy/std": 2.0}, 3 * done
    assert logger.lines == [line] * due
    assert RunFolder(tmp_path).samples(done).exists() == due


def test_an_evaluation_follows_the_last_update_of_its_iteration(tmp_path: Path) -> None:
    """Six iterations of two updates: whether one is due is asked after each, with the iterations done."""
    asked: list[tuple[int, int]] = []
    trainer: Any = SimpleNamespace(global_step=0, max_steps=12, should_stop=False, loggers=[])
    module = condenser(random_images(3, 1, 1, 8, 8), 2, [1])
    quick = QuickEvaluation(None, 2, 7, RunFolder(tmp_path), Console(quiet=True))  # type: ignore[arg-type]
    quick._evaluate_if_due = lambda trainer, module, done: asked.append((trainer.global_step, done))  # type: ignore
    for step in range(12):
        trainer.global_step = step + 1
        quick.on_train_batch_end(trainer, module, None, SimpleNamespace(k=step // 2, t=step % 2), step)
    assert asked == [(2 * done, done) for done in range(1, 7)]


def test_names_of_the_accuracies_of_several_sets_and_architectures() -> None:
    def measured(name: str, architecture: str, mean: float) -> Evaluation:
        return Evaluation(name, 4, 1, architecture, Accuracy([mean], epochs=1, protocol="plain"))

    named = metrics_of_all(
        [
            measured("condensed", "convnet", 50.0), measured("condensed", "mlp", 30.0),
            measured("random images", "convnet", 20.0), measured("random images", "mlp", 10.0),
        ]
    )  # fmt: skip
    assert {name: value for name, value in named.items() if name.endswith("mean")} == {
        "accuracy/mean": 50.0, "accuracy/mlp/mean": 30.0,
        "accuracy/random/mean": 20.0, "accuracy/random/mlp/mean": 10.0,
    }  # fmt: skip


def test_seconds_of_quick_evaluations_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of one that a signal ends."""
    images = LabelledImages(torch.zeros(2, 1, 8, 8), torch.arange(2))
    clock = iter([10.0, 13.0, 20.0, 25.0])
    monkeypatch.setattr(evaluation.time, "monotonic", lambda: next(clock))
    ends = iter([None, KeyboardInterrupt()])

    def evaluator(given: LabelledImages, networks: int) -> Accuracy:
        if (end := next(ends)) is not None:
            raise end
        return Accuracy([50.0], epochs=1, protocol="plain")

    evaluator.data = SimpleNamespace(info=named_classes("a", "b"))  # type: ignore[attr-defined]
    trainer = SimpleNamespace(global_step=3, max_steps=18, should_stop=False, loggers=[])
    module = SimpleNamespace(synthetic=SimpleNamespace(labelled=lambda: images), updates=3)
    quick = QuickEvaluation(evaluator, 1, 1, RunFolder(tmp_path), Console(quiet=True))  # type: ignore[arg-type]
    quick._evaluate_if_due(trainer, module, 1)  # type: ignore[arg-type]
    assert quick.seconds == 3.0
    with pytest.raises(KeyboardInterrupt):
        quick._evaluate_if_due(trainer, module, 2)  # type: ignore[arg-type]
    assert quick.seconds == 8.0


def test_seconds_before_a_resume_are_kept(tmp_path: Path) -> None:
    first, second = (
        QuickEvaluation(None, 2, 7, RunFolder(tmp_path), Console(quiet=True))
        for _ in range(2)  # type: ignore[arg-type]
    )
    first.seconds = 12.5
    second.load_state_dict(first.state_dict())
    assert second.seconds == 12.5
