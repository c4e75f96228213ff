"""Reads and cuts metrics.csv."""

import csv
from pathlib import Path

from gmlight.runtime.atomic import atomic_write, partial_path


def drop_rows_from(path: Path, step: int, *, keep_evaluation: bool) -> None:
    """Removes the rows of this image update and later ones: a resumed run logs them again.

    Args:
        path: metrics.csv; it need not exist.
        step: number of the first image update that is repeated.
        keep_evaluation: whether to keep the row of the evaluation just before that update.
    """
    keys, rows = _read_rows(path)
    # An evaluation after update i is logged at step i + 1.
    kept = [
        row for row in rows if int(row["step"]) < step + bool(keep_evaluation and row.get("accuracy/mean"))
    ]
    if len(kept) < len(rows):
        with atomic_write(path) as file:
            _write_rows(file, keys, kept)


def read_metrics(path: Path) -> list[dict[str, str]]:
    """Reads the rows of metrics.csv; empty if there is no such file.

    Returns:
        By metric, the value as text; an empty text where the row has no such metric.
    """
    return _read_rows(path)[1]


def _read_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    # Whole lines alone: the last one may have been cut short.
    if not path.exists() and partial_path(path).exists():
        path = partial_path(path)
    if not path.exists():
        return [], []
    with path.open(newline="") as file:
        lines = file.read().splitlines(keepends=True)
    reader = csv.DictReader(line for line in lines if line.endswith("\n"))
    return list(reader.fieldnames or []), [row for row in reader if None not in row.values()]


def _write_rows(path: Path, keys: list[str], rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, keys)
        writer.writeheader()
        writer.writerows(rows)
