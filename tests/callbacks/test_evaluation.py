"""Names and values of accuracies on dashboards, and when a quick evaluation is due."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from gmlight.artifacts.results import Accuracy
from gmlight.artifacts.run_folder import RunFolder
from gmlight.callbacks import evaluation
from gmlight.callbacks.evaluation import QuickEvaluation, accuracy_metrics
from gmlight.data.images import LabelledImages
from helpers.problems import named_classes


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
