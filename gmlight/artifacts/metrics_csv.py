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
    """Reads the columns and the complete rows; drops a truncated last row."""
    if not path.exists():
        return [], []
    with path.open(newline="") as file:
        lines = [line for line in file.read().splitlines(keepends=True) if line.endswith("\n")]
    reader = csv.DictReader(lines)
    rows = [row for row in reader if None not in row and None not in row.values()]
    return list(reader.fieldnames or []), rows


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
