"""Augmentation-robust scores of sets that were evaluated under two protocols."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from gmlight.artifacts import condensed_set
from gmlight.artifacts.condensed_set import CondensedDataset
from gmlight.artifacts.robust_scores import RANDOM
from gmlight.data.images import LabelledImages
from gmlight.reporting.collect import collect_runs
from gmlight.reporting.robust_notes import augmentation_notes
from helpers.problems import named_classes
from helpers.results import changed, write_result


@pytest.fixture
def run(tmp_path: Path) -> Path:
    images = LabelledImages(torch.randn(2, 1, 2, 2), torch.tensor([0, 1]))
    condensed_set.write(tmp_path / "run" / "condensed", images, named_classes("a", "b"), {})
    return tmp_path / "run"


def rows(protocol: str, condensed: float, random: float) -> tuple[str, Any]:
    return "evaluations", [
        {"name": name, "images": 2, "architecture": "convnet", "storage_bytes": 40,
         "accuracy": {"values": [mean], "mean": mean, "epochs": 3, "protocol": protocol}}
        for name, mean in (("condensed", condensed), (RANDOM, random))
    ]  # fmt: skip


def again(run: Path, *changes: tuple[str, Any]) -> dict[str, Any]:
    origin = {"sha256": CondensedDataset(run).metadata["sha256"], "method": "m", "scale": "paper"}
    return changed(rows("dsa", 70.0, 60.0), ("set", origin), *changes)


def test_the_score_of_gains_under_two_protocols(run: Path) -> None:
    """A gain of 10 points with augmentation and of 20 without: 0.15 on average, of -1 to 1."""
    results = {run: changed(rows("plain", 50.0, 30.0))}
    (line,) = augmentation_notes(results, [again(run)])
    score = (math.exp(0.15) - math.exp(-1)) / (math.e - math.exp(-1))
    assert line.endswith(
        f"run: augmentation-robust score of m on convnet: {score:.3f} (protocols plain and dsa)"
    )


@pytest.mark.parametrize(
    ("of_run", "change"),
    [
        (rows("dsa", 50.0, 30.0), ("changed", [])),  # no plain one
        (("evaluations.0.accuracy.protocol", "plain"), ("changed", [])),  # no random images
        (rows("plain", 50.0, 30.0), ("changed", ["lr=0.1"])),
        (rows("plain", 50.0, 30.0), ("config.ipc", 2)),
        (rows("plain", 50.0, 30.0), ("set", {"sha256": "0" * 64, "method": "m", "scale": "paper"})),
        (rows("plain", 50.0, 30.0), rows("plain", 70.0, 60.0)),
    ],
)
def test_evaluations_that_cannot_be_compared_have_no_score(
    of_run: tuple[str, Any], change: tuple[str, Any], run: Path
) -> None:
    assert list(augmentation_notes({run: changed(of_run)}, [again(run, change)])) == []


def test_a_run_without_its_set_has_no_score(run: Path) -> None:
    evaluated = again(run)
    (run / "condensed" / "metadata.json").write_text("{")
    assert list(augmentation_notes({run: changed(rows("plain", 50.0, 30.0))}, [evaluated])) == []
    (run / "condensed" / "metadata.json").unlink()
    assert list(augmentation_notes({run: changed(rows("plain", 50.0, 30.0))}, [evaluated])) == []


def test_the_score_is_a_note_of_the_report(run: Path) -> None:
    write_result(run, rows("plain", 50.0, 30.0))
    origin = {"sha256": CondensedDataset(run).metadata["sha256"], "method": "m", "scale": "paper"}
    write_result(run / "evaluations" / "a", rows("dsa", 70.0, 60.0), ("set", origin))
    assert any("augmentation-robust score of m" in note for note in collect_runs([str(run)]).notes)
