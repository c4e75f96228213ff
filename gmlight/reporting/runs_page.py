"""Writes the page of many runs: a table of the runs, their condensed images, the paper's tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gmlight.artifacts.record import RunRecord
from gmlight.artifacts.run_folder import RunFolder
from gmlight.reporting.collect import RunCollection
from gmlight.reporting.html import data_uri, render
from gmlight.reporting.measurements import scale_and_protocol
from gmlight.reporting.run_page import PICTURES_BYTES
from gmlight.reporting.tables import EXPLANATION, HEADINGS, ResultTable, result_tables
from gmlight.runtime.console import format_bytes, format_duration, pluralize, relative_path

RUN_HEADINGS = (
    "dataset", "ipc", "method", "scale", "storage", "seed", "network", "accuracy, %", "std", "n",
    "condensing", "folder",
)  # fmt: skip
_NUMERIC_RUN_HEADINGS = {"ipc", "storage", "seed", "accuracy, %", "std", "n", "condensing"}
_NUMERIC_HEADINGS = {"ipc", "storage", "ours", "between", "paper", "diff"}


@dataclass(frozen=True)
class _Cell:
    text: str
    value: str = ""  # sort key of a number
    number: bool = False


def write_runs_page(path: Path, runs: RunCollection) -> None:
    """Writes the page of many runs.

    Args:
        path: of the page.
        runs: the runs to show.
    """
    pictures, left_out = _pictures(runs.results)
    content = render(
        "runs.html",
        title=pluralize(len(runs.results), "run"),
        explanation=f"{EXPLANATION}.",
        all_runs={
            "headings": _headings(RUN_HEADINGS, _NUMERIC_RUN_HEADINGS),
            "rows": [_run_cells(folder, result) for folder, result in runs.results.items()],
        },
        pictures=pictures,
        left_out=left_out,
        tables=[_sortable(table) for table in result_tables(runs)],
        notes=runs.notes,
    )
    path.write_text(content, encoding="utf-8")


def _headings(names: Sequence[str], numeric: set[str]) -> list[dict[str, Any]]:
    return [{"name": name, "number": name in numeric} for name in names]


def _run_cells(folder: Path, result: Mapping[str, Any]) -> list[_Cell]:
    record, row = RunRecord.from_dict(result), result["evaluations"][0]
    accuracy, seconds = row["accuracy"], result.get("seconds", {}).get("condensing")
    size = row.get("storage_bytes")
    return [
        _Cell(record.config["dataset"]["name"]),
        _number(record.config["ipc"]),
        _Cell(record.method),
        _Cell(scale_and_protocol(result)),
        _number(size, format_bytes(size)) if size else _Cell(""),
        _number(record.config["seed"]),
        _Cell(row["architecture"]),
        _number(accuracy["mean"], f"{accuracy['mean']:.2f}"),
        _number(accuracy["std"], f"{accuracy['std']:.2f}"),
        _number(accuracy["n"]),
        _Cell("", number=True) if seconds is None else _number(seconds, format_duration(seconds)),
        _Cell(str(relative_path(folder))),
    ]


def _number(value: float, text: str | None = None) -> _Cell:
    return _Cell(str(value) if text is None else text, str(value), number=True)


def _sortable(table: ResultTable) -> dict[str, Any]:
    rows = [
        [
            _Cell(text, text.split("±")[0], number=True) if name in _NUMERIC_HEADINGS else _Cell(text)
            for name, text in zip(HEADINGS, row, strict=True)
        ]
        for row in table.rows
    ]
    headings = _headings(HEADINGS, _NUMERIC_HEADINGS)
    return {"title": table.title, "headings": headings, "rows": rows, "commands": "\n".join(table.commands)}


def _pictures(results: Mapping[Path, Mapping[str, Any]]) -> tuple[list[dict[str, str]], int]:
    # Returns the last picture of each run, and the number of pictures left out to limit the page's size.
    pictures, bytes_left, left_out = [], PICTURES_BYTES, 0
    for folder, result in results.items():
        for path in RunFolder(folder).all_samples[-1:]:
            bytes_left -= path.stat().st_size
            if bytes_left < 0:
                left_out += 1
                continue
            headline, accuracy = RunRecord.from_dict(result).headline, result["evaluations"][0]["accuracy"]
            caption = f"{headline}: {accuracy['mean']:.2f} %"
            pictures.append({"source": data_uri(path), "text": f"Images of {headline}", "caption": caption})
    return pictures, left_out
