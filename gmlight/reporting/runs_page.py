"""A page of many runs: a table to sort, the paper's tables, the sets side by side."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gmlight.artifacts.record import headline
from gmlight.reporting.collect import scale_shown
from gmlight.reporting.html import data_uri, render, samples, written
from gmlight.reporting.run_page import PICTURES_BYTES
from gmlight.runtime.console import format_bytes, format_duration, pluralize, relative_path

RUN_HEADINGS = (
    "dataset", "ipc", "method", "scale", "storage", "seed", "network", "accuracy, %", "std", "n",
    "condensing", "folder",
)  # fmt: skip
_NUMBERS = {
    "ipc",
    "storage",
    "seed",
    "accuracy, %",
    "std",
    "n",
    "condensing",
    "ours",
    "between",
    "paper",
    "diff",
}


@dataclass(frozen=True)
class Table:
    """One of the paper's tables, as text; commands: what made its cells."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    commands: Sequence[str]


@dataclass(frozen=True)
class _Cell:
    """text: as it is shown. value: what it is sorted by, where it is a number."""

    text: str
    value: str = ""
    number: bool = False


def write_runs_page(
    path: Path,
    runs: Mapping[Path, dict[str, Any]],
    tables: Iterable[Table],
    notes: Sequence[str],
    explanation: str,
) -> None:
    """Writes a page of many runs: a table to sort, the paper's tables, the sets side by side.

    Args:
        runs: the result of each by its folder.
    """
    pictures, left_out = _side_by_side(runs)
    content = render(
        "runs.html",
        title=pluralize(len(runs), "run"),
        explanation=explanation,
        every=_sortable(RUN_HEADINGS, [_run_cells(folder, result) for folder, result in runs.items()]),
        pictures=pictures,
        left_out=left_out,
        tables=[_of_table(table) for table in tables],
        notes=notes,
        **written(),
    )
    path.write_text(content, encoding="utf-8")


def _sortable(headings: Sequence[str], rows: Sequence[Sequence[_Cell]]) -> dict[str, Any]:
    return {"headings": [{"name": name, "number": name in _NUMBERS} for name in headings], "rows": rows}


def _run_cells(folder: Path, result: dict[str, Any]) -> list[_Cell]:
    config, row = result["config"], result["evaluations"][0]
    accuracy, seconds = row["accuracy"], result.get("seconds", {}).get("condensing")
    stored = row.get("storage_bytes")
    return [
        _Cell(config["dataset"]["name"]),
        _number(config["ipc"]),
        _Cell(result["method"]),
        _Cell(scale_shown(result)),
        _number(stored, format_bytes(stored)) if stored else _Cell(""),
        _number(config["seed"]),
        _Cell(row["architecture"]),
        _number(accuracy["mean"], f"{accuracy['mean']:.2f}"),
        _number(accuracy["std"], f"{accuracy['std']:.2f}"),
        _number(accuracy["n"]),
        _Cell("", number=True) if seconds is None else _number(seconds, format_duration(seconds)),
        _Cell(str(relative_path(folder))),
    ]


def _number(value: float, text: str | None = None) -> _Cell:
    return _Cell(str(value) if text is None else text, str(value), number=True)


def _of_table(table: Table) -> dict[str, Any]:
    rows = [
        [
            _Cell(text, text.split("±")[0], number=True) if name in _NUMBERS - {"n"} else _Cell(text)
            for name, text in zip(table.headings, row, strict=True)
        ]
        for row in table.rows
    ]
    beside = {"title": table.title, "commands": "\n".join(table.commands)}
    return _sortable(table.headings, rows) | beside


def _side_by_side(runs: Mapping[Path, dict[str, Any]]) -> tuple[list[dict[str, str]], int]:
    # The last picture of each run, as many as a page can bear; how many are left out.
    pictures, room, left_out = [], PICTURES_BYTES, 0
    for folder, result in runs.items():
        for path in samples(folder)[-1:]:
            room -= path.stat().st_size
            if room < 0:
                left_out += 1
                continue
            what, accuracy = headline(result), result["evaluations"][0]["accuracy"]
            caption = f"{what}: {accuracy['mean']:.2f} %"
            pictures.append({"source": data_uri(path), "text": f"Images of {what}", "caption": caption})
    return pictures, left_out
