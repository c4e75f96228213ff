"""The table of many runs: what its cells say, and what they are sorted by."""

import base64
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from gmlight.artifacts.record import RunRecord
from gmlight.reporting import runs_page
from gmlight.reporting.runs_page import HEADINGS, RUN_HEADINGS, _headings, _run_cells, _sortable
from gmlight.reporting.tables import ResultTable

RESULT: dict[str, Any] = {
    "config": {"dataset": {"name": "mnist"}, "ipc": 10, "seed": 7},
    "evaluations": [
        {"architecture": "mlp", "storage_bytes": 2048,
         "accuracy": {"mean": 91.256, "std": 0.104, "n": 5, "protocol": "plain"}},
    ],
    "seconds": {"condensing": 3725.0},
}  # fmt: skip


class Record:
    method, config = "mda", RESULT["config"]


def test_a_runs_cells_are_sorted_by_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunRecord, "from_dict", lambda result: Record)
    monkeypatch.setattr(runs_page, "scale_and_protocol", lambda result: "reduced")
    cells = dict(zip(RUN_HEADINGS, _run_cells(Path("a/b"), RESULT), strict=True))
    numeric = {name for name, cell in cells.items() if cell.number}
    assert numeric == {"ipc", "storage", "seed", "accuracy, %", "std", "n", "condensing"}
    shown = {name: (cell.text, cell.value) for name, cell in cells.items() if cell.number}
    assert shown == {
        "ipc": ("10", "10"), "storage": ("2 KiB", "2048"), "seed": ("7", "7"),
        "accuracy, %": ("91.26", "91.256"), "std": ("0.10", "0.104"), "n": ("5", "5"),
        "condensing": ("1:02:05", "3725.0"),
    }  # fmt: skip
    assert [cell.text for cell in cells.values() if not cell.number] == [
        "mnist",
        "mda",
        "reduced",
        "mlp",
        "a/b",
    ]
    flags = {
        heading["name"]: heading["number"]
        for heading in _headings(RUN_HEADINGS, runs_page._NUMERIC_RUN_HEADINGS)
    }
    assert {name for name, number in flags.items() if number} == numeric


def test_what_older_results_lack_is_blank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunRecord, "from_dict", lambda result: Record)
    monkeypatch.setattr(runs_page, "scale_and_protocol", lambda result: "reduced")
    (row,) = RESULT["evaluations"]
    older = {
        "config": RESULT["config"],
        "evaluations": [{k: v for k, v in row.items() if k != "storage_bytes"}],
    }
    cells = dict(zip(RUN_HEADINGS, _run_cells(Path("a"), older), strict=True))
    assert (cells["storage"].text, cells["condensing"].text, cells["condensing"].number) == ("", "", True)


def test_an_accuracy_in_a_table_is_sorted_by_its_mean() -> None:
    row = ["91.2±0.4" if name in ("ours", "paper") else f"{name}!" for name in HEADINGS]
    found = _sortable(ResultTable("title", [row], ["one", "two"]))
    cells = dict(zip(HEADINGS, found["rows"][0], strict=True))
    assert {name for name, cell in cells.items() if cell.number} == {
        "ipc", "storage", "ours", "between", "paper", "diff",
    }  # fmt: skip
    assert (cells["ours"].text, cells["ours"].value) == ("91.2±0.4", "91.2")
    assert [heading["name"] for heading in found["headings"]] == list(HEADINGS)
    assert found["commands"] == "one\ntwo"


def test_the_picture_of_a_run_is_its_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunRecord, "from_dict", lambda result: SimpleNamespace(headline="mnist"))
    (tmp_path / "samples").mkdir()
    for k, grey in ((0, 0), (5, 100), (10, 200)):
        Image.new("L", (2, 2), grey).save(tmp_path / "samples" / f"{k:05d}.png")
    [picture], left_out = runs_page._pictures({tmp_path: RESULT})
    assert left_out == 0
    content = base64.b64decode(picture["source"].partition(",")[2])
    assert Image.open(io.BytesIO(content)).getpixel((0, 0)) == 200
    assert picture["caption"] == "mnist: 91.26 %"
    monkeypatch.setattr(runs_page, "PICTURES_BYTES", 10)
    assert runs_page._pictures({tmp_path: RESULT}) == ([], 1)
