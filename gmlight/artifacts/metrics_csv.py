"""Reads and writes metrics.csv: one row per logged step, one column per metric, sorted by name."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gmlight.runtime.atomic import atomic_write


def read_metrics(path: Path) -> list[dict[str, str]]:
    """Reads the rows of metrics.csv; an absent file has no rows.

    Returns:
        Rows, each with values as text by metric; the text is empty if the row lacks the metric.
    """
    return read_table(path)[1]


def read_table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Reads the columns and the rows; drops truncated and damaged rows."""
    if not path.exists():
        return [], []
    complete = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    columns, *rows = map(_cells, complete or [""])
    found = [dict(zip(columns, row, strict=True)) for row in rows if len(row) == len(columns)]
    return columns, list(filter(_is_row, found))


def _cells(line: str) -> list[str]:
    try:
        return next(csv.reader([line]), [])
    except csv.Error:  # such as a cell of 200,000 characters
        return []


def _is_row(row: Mapping[str, str]) -> bool:
    try:
        return int(row["step"]) >= 0 and all(isinstance(float(value or 0), float) for value in row.values())
    except (KeyError, ValueError):
        return False


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Replaces the file atomically; missing metrics of a row are left empty."""
    with atomic_write(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def append_row(path: Path, columns: Sequence[str], row: Mapping[str, Any]) -> None:
    """Appends a row to a file that has these columns."""
    with path.open("a", newline="") as file:
        csv.DictWriter(file, columns).writerow(row)


def drop_rows_from(path: Path, step: int, *, keep_evaluation: bool) -> None:
    """Deletes the rows from an image update on, because a resumed run logs them again.

    Args:
        path: metrics.csv; it may be absent.
        step: number of the first repeated image update.
        keep_evaluation: whether to keep the row of the evaluation just before that update.
    """
    columns, rows = read_table(path)
    # An evaluation after update i is logged at step i + 1.
    kept = [
        row for row in rows if int(row["step"]) < step + bool(keep_evaluation and row.get("accuracy/mean"))
    ]
    if len(kept) < len(rows):
        write_table(path, columns, kept)
