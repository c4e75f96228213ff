"""Reads and cuts metrics.csv."""

import csv
from pathlib import Path

from lightning.fabric.loggers.csv_logs import _ExperimentWriter

from gmlight.runtime.atomic import atomic_write, partial_path

METRICS = _ExperimentWriter.NAME_METRICS_FILE


def forget_from(folder: Path, step: int, *, evaluated: bool) -> None:
    """Takes the lines of updates from this one on out of metrics.csv: they are made again.

    Args:
        evaluated: whether the line of the evaluation before that update stays.
    """
    path = folder / METRICS
    keys, rows = _read_rows(path)
    # An evaluation after update i is logged at step i + 1.
    kept = [row for row in rows if int(row["step"]) < step + bool(evaluated and row.get("accuracy/mean"))]
    if len(kept) < len(rows):
        with atomic_write(path) as file:
            _write_rows(file, keys, kept)


def read_metrics(folder: Path) -> list[dict[str, str]]:
    """The lines of the run's metrics.csv, by name; none where there is no such file."""
    return _read_rows(folder / METRICS)[1]


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
