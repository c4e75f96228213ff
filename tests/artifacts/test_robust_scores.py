"""Robust scores by hand, and which accuracies they are computed from."""

import io
import math
from typing import Any

import pytest
from rich.console import Console

from gmlight.artifacts.results import Accuracy, Evaluation
from gmlight.artifacts.robust_scores import (
    augmentation_robust_score,
    label_robust_score,
    label_robust_scores,
)
from gmlight.reporting.tables import print_table


def scaled(a: float) -> float:
    return (math.exp(a) - math.exp(-1)) / (math.exp(1) - math.exp(-1))


def test_label_robust_score() -> None:
    """40 % where random images have 10 and the whole set 80: 0.5 * 0.3 - 0.5 * 0.4 = -0.05."""
    assert label_robust_score(40, 10, 80) == pytest.approx(scaled(-0.05))
    assert label_robust_score(40, 10, 80, weight=0.75) == pytest.approx(scaled(0.75 * 0.3 - 0.25 * 0.4))
    assert label_robust_score(100, 0, 0, weight=0.0) == pytest.approx(scaled(1.0)) == 1.0
    assert label_robust_score(0, 100, 0, weight=1.0) == pytest.approx(0.0)


def test_augmentation_robust_score() -> None:
    assert augmentation_robust_score(20, -6) == pytest.approx(scaled(0.07))
    assert augmentation_robust_score(20, -6, weight=0.25) == pytest.approx(scaled(0.05 - 0.045))


def evaluation(name: str, architecture: str, *values: float) -> Evaluation:
    return Evaluation(name, 10, 40, architecture, Accuracy([*values], epochs=1, protocol="plain"))


def test_architectures_with_both_baselines_have_a_score() -> None:
    evaluations = [
        evaluation("condensed", "convnet", 39.0, 41.0), evaluation("condensed", "mlp", 30.0),
        evaluation("random images", "convnet", 10.0), evaluation("random images", "mlp", 5.0),
        evaluation("whole train set", "convnet", 80.0),
    ]  # fmt: skip
    rows: list[dict[str, Any]] = [each.as_dict() for each in evaluations]
    assert label_robust_scores(rows) == {"convnet": pytest.approx(scaled(-0.05))}
    assert label_robust_scores(rows[:4]) == {}
    assert label_robust_scores([]) == {}  # a blank cell of an experiment
    assert label_robust_scores([rows[2], rows[4]]) == {}  # a baseline is no synthetic set
    page = io.StringIO()
    print_table(evaluations, "a run", Console(file=page, width=80))
    line = f"label-robust score {scaled(-0.05):.3f} on convnet, between random images and the whole set"
    assert page.getvalue().splitlines()[-1] == line
    assert len(line) <= 80
