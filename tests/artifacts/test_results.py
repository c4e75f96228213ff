"""result.json and the printed table."""

import io
import json
from pathlib import Path

import pytest
import torch
from rich.console import Console

from gmlight.artifacts import results
from gmlight.artifacts.record import RunRecord
from gmlight.artifacts.results import Accuracy
from gmlight.artifacts.run_folder import RunFolder
from gmlight.reporting.tables import print_table
from helpers.results import write_result

RECORD = RunRecord.from_dict(
    {
        "command": "python -m gmlight.train",
        "architecture": "convnet",
        "method": "mda",
        "scale": "paper with evaluation.networks=2",
        "config": {"dataset": {"name": "digits"}, "ipc": 10, "seed": 0},
    }
)
ROWS = [
    results.Evaluation(
        "condensed", 100, 25600, "convnet", Accuracy([90.0, 92.0], epochs=300, protocol="plain")
    ),
    results.Evaluation(
        "whole train set",
        1437,
        367872,
        "convnet_bn (instance)",
        Accuracy([99.0], epochs=300, protocol="plain"),
    ),
]


def test_result_contains_every_accuracy(tmp_path: Path) -> None:
    found = json.loads(
        results.write_result(RunFolder(tmp_path), RECORD, ROWS, {"seconds": {"evaluation": 1.0}}).read_text()
    )
    assert found["method"] == "mda"
    assert found["seconds"] == {"evaluation": 1.0}
    assert found["evaluations"][0] == {
        "name": "condensed",
        "images": 100,
        "storage_bytes": 25600,
        "architecture": "convnet",
        "accuracy": {
            "mean": 91.0,
            "std": 1.0,
            "n": 2,
            "epochs": 300,
            "protocol": "plain",
            "values": [90.0, 92.0],
        },
    }


def test_table_fits_80_columns_and_names_the_scale() -> None:
    screen = io.StringIO()
    print_table(ROWS, RECORD.headline, Console(file=screen, width=80))
    lines = screen.getvalue().splitlines()
    assert "scale paper with evaluation.networks=2" in lines[0]
    assert any("condensed" in line and "91.00 ± 1.00" in line for line in lines)
    assert max(map(len, lines)) <= 80


def test_environment_names_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert results.environment(torch.device("cpu"))["device"] == "CPU, 1 thread"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert results.environment(torch.device("cpu"))["device"] == "CPU, 2 threads"


def test_accuracies_of_the_set_are_read_not_those_of_baselines(tmp_path: Path) -> None:
    def row(name: str, architecture: str, value: float) -> dict[str, object]:
        accuracy = {"values": [value], "epochs": 3, "protocol": "dsa"}
        return {"name": name, "architecture": architecture, "accuracy": accuracy}

    rows = [row("condensed", "mlp", 1.0), row("condensed", "lenet", 2.0), row("random images", "mlp", 3.0)]
    found = results.read_accuracies(write_result(tmp_path, ("evaluations", rows)))
    assert {name: accuracy.values for name, accuracy in found.items()} == {"mlp": [1.0], "lenet": [2.0]}
    assert (found["mlp"].epochs, found["mlp"].protocol) == (3, "dsa")
