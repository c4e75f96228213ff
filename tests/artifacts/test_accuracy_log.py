"""The log of accuracies that survives a stopped run."""

import hashlib
import json
import time
from pathlib import Path

import pytest
import torch

from gmlight.artifacts.accuracy_log import AccuracyLog
from gmlight.data.images import LabelledImages

ONE = LabelledImages(torch.zeros(2, 1, 4, 4), torch.tensor([0, 1]))
OTHER = LabelledImages(torch.ones(2, 1, 4, 4), torch.tensor([0, 1]))
OTHERWISE_LABELLED = LabelledImages(ONE.images, torch.tensor([1, 0]))
SOFTLY_LABELLED = LabelledImages(ONE.images, ONE.labels, soft_labels=torch.tensor([[0.9, 0.1], [0.2, 0.8]]))


def test_written_accuracies_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.jsonl"
    accuracies = AccuracyLog(path, {"epochs": 3}).accuracies("condensed", ONE, "mlp")
    assert dict(accuracies) == {}
    accuracies[0], accuracies[2] = 1 / 3, 50.0
    assert dict(accuracies) == {0: 1 / 3, 2: 50.0}
    log = AccuracyLog(path, {"epochs": 3})
    assert dict(log.accuracies("condensed", ONE, "mlp")) == {0: 1 / 3, 2: 50.0}
    for name, images, architecture in (
        ("random", ONE, "mlp"),
        ("condensed", OTHER, "mlp"),
        ("condensed", OTHERWISE_LABELLED, "mlp"),
        ("condensed", SOFTLY_LABELLED, "mlp"),
        ("condensed", ONE, "lenet"),
    ):
        assert dict(log.accuracies(name, images, architecture)) == {}
    assert dict(AccuracyLog(path, {"epochs": 4}).accuracies("condensed", ONE, "mlp")) == {}


def test_truncated_or_changed_lines_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.jsonl"
    accuracies = AccuracyLog(path, None).accuracies("condensed", ONE, "mlp")
    accuracies[0], accuracies[1] = 93.25, 94.5
    whole = path.read_text()
    for length in range(len(whole)):
        path.write_text(whole[:length])
        known = AccuracyLog(path, None).accuracies("condensed", ONE, "mlp")
        assert set(known.items()) <= {(0, 93.25), (1, 94.5)}
    assert dict(known) == {0: 93.25}
    known[1] = 94.5  # appends after the truncated line
    assert dict(AccuracyLog(path, None).accuracies("condensed", ONE, "mlp")) == {0: 93.25, 1: 94.5}
    path.write_text(whole.replace("93.25", "93.75"))
    assert dict(AccuracyLog(path, None).accuracies("condensed", ONE, "mlp")) == {1: 94.5}


def test_lines_of_other_types_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.jsonl"
    for entry in (
        [["key"], 0, 91.0, 1.0],
        ["key", "0", 91.0, 1.0],
        ["key", 0, "91", 1.0],
        [None, 0, 91.0, {}],
    ):
        digest = hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()[:32]
        path.write_text(json.dumps([*entry, digest]))
        assert AccuracyLog(path, None).seconds == 0
    path.write_text("[" * 100_000)
    assert AccuracyLog(path, None).seconds == 0
    path.write_text("[1, 2]\nnull\n7")
    AccuracyLog(path, None)


def test_seconds_of_a_stopped_evaluation_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    log = AccuracyLog(tmp_path / "evaluation.jsonl", None)
    for name, networks in (("condensed", 2), ("random", 1)):
        accuracies = log.accuracies(name, ONE, "mlp")
        for network in range(networks):
            clock[0] += 8
            accuracies[network] = 90.0
    assert log.seconds == 24
    clock[0] += 1000  # the run is stopped, and resumed
    log = AccuracyLog(tmp_path / "evaluation.jsonl", None)
    assert log.seconds == 0
    for _ in range(2):  # asked for a second time, they are not counted again
        assert dict(log.accuracies("condensed", ONE, "mlp")) == {0: 90.0, 1: 90.0}
        assert log.seconds == 16
    clock[0] += 3
    log.accuracies("condensed", ONE, "mlp")[2] = 91.0
    assert log.seconds == 19
