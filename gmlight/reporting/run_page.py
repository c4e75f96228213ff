"""Writes the page of one run: progress, accuracies, pictures and curves in one file that works offline."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gmlight.artifacts.metrics_csv import read_metrics
from gmlight.artifacts.record import RunRecord
from gmlight.artifacts.results import images_per_class
from gmlight.artifacts.run_folder import RunFolder
from gmlight.reporting.curves import draw_curves
from gmlight.reporting.data_table import HEADINGS, DataTable
from gmlight.reporting.html import data_uri, render
from gmlight.reporting.paper import TITLES, paper_accuracies_for
from gmlight.reporting.tables import score_lines
from gmlight.runtime.atomic import atomic_write
from gmlight.runtime.console import format_bytes, format_duration, pluralize

PICTURES, PICTURES_BYTES = 24, 12 * 2**20  # most pictures on a page, and their total size


@dataclass(frozen=True)
class State:
    """The progress of a run.

    Args:
        name: `condensing`, `evaluating`, `finished` or `stopped`.
        done: outer iterations done.
        total: outer iterations of the run.
        elapsed: seconds since the run started or resumed; None: unknown.
        left: estimated seconds until the last outer iteration; None: unknown.
        reason: why the run stopped; empty otherwise.
    """

    name: str
    done: int
    total: int
    elapsed: float | None = None
    left: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class _Picture:
    iteration: int
    text: str  # alternative text
    source: str  # a data URI


@dataclass(frozen=True)
class _Row:
    # A row of the table of accuracies, as it is printed.
    name: str
    images: object
    network: str
    epochs: object
    accuracy: str
    n: object
    ours: bool = False
    storage: str = ""


def write_run_page(
    folder: RunFolder,
    record: RunRecord,
    classes: Sequence[str],
    state: State,
    data: DataTable | None = None,
) -> Path:
    """Writes the run's page from the files in its folder.

    Args:
        folder: of the run.
        record: of the run.
        classes: class names, by label.
        state: progress of the run.
        data: what was read of the dataset; None: unknown.

    Returns:
        The page's path.
    """
    config, metrics = record.config, read_metrics(folder.metrics)
    result = folder.read_result() if state.name == "finished" and folder.result.exists() else None
    learned = bool(config["iterations"])
    content = render(
        "run.html",
        title=f"{config['dataset']['name']}, {pluralize(config['ipc'], 'image')} per class",
        subtitle=record.headline,
        state=_shown_state(state),
        folder=shlex.quote(str(folder.path.resolve())),
        finished=result is not None,
        learned=learned,
        pictures=_pictures(folder.all_samples, classes, "Synthetic" if learned else "Real"),
        pictures_left_out=bool(folder.all_samples),
        pictures_folder=folder.samples_folder.name,
        data=data,
        data_headings=HEADINGS,
        accuracies=_accuracy_rows(record, metrics, result),
        protocol=record.protocol,
        scores=[] if result is None else score_lines(result["evaluations"]),
        curves=draw_curves(metrics, _baselines(record, result)),
        no_curves=_why_no_curves(bool(config["logger"].get("csv")), finished=result is not None),
        command=record.command,
        environment=_environment(result),
        config=yaml.safe_dump(config, sort_keys=False),
    )
    with atomic_write(folder.page) as file:
        file.write_text(content, encoding="utf-8")
    return folder.page


def choose_pictures(paths: Sequence[Path], number: int, total_bytes: int) -> list[Path]:
    """Chooses pictures at even intervals, including the last picture.

    Args:
        paths: of the pictures, oldest first.
        number: largest number of pictures.
        total_bytes: largest total size of the chosen pictures.
    """
    if not paths:
        return []
    number = min(number, len(paths), total_bytes // max(path.stat().st_size for path in paths))
    step = (len(paths) - 1) / max(1, number - 1)
    return [paths[-1 - round(i * step)] for i in reversed(range(number))]


def _shown_state(state: State) -> dict[str, Any]:
    return {
        "name": state.name,
        "done": state.done,
        "total": state.total,
        "reason": state.reason,
        "elapsed": "" if state.elapsed is None else format_duration(state.elapsed),
        "left": "" if state.left is None else format_duration(state.left),
    }


def _environment(result: Mapping[str, Any] | None) -> dict[str, str]:
    # Without the host's name, because users share pages.
    if result is None:
        return {}
    times = {f"time {name}": format_duration(seconds) for name, seconds in result["seconds"].items()}
    return {name: value for name, value in result["environment"].items() if name != "host"} | times


def _why_no_curves(logged: bool, finished: bool) -> str:
    if not logged:
        return "No metrics were logged, so there are no curves. Add csv to logger."
    return "The run was too short for curves." if finished else "No metrics yet."


def _pictures(paths: Sequence[Path], classes: Sequence[str], kind: str) -> list[_Picture]:
    names = ", ".join(classes[:20]) + (", ..." if len(classes) > 20 else "")
    return [
        _Picture(
            int(path.stem),
            f"{kind} images after {int(path.stem)} outer iterations, one row per class: {names}",
            data_uri(path),
        )
        for path in choose_pictures(paths, PICTURES, PICTURES_BYTES)
    ]


def _accuracy_rows(
    record: RunRecord, metrics: Sequence[Mapping[str, str]], result: Mapping[str, Any] | None
) -> list[_Row]:
    if result is not None:
        set_name = result["evaluations"][0]["name"]
        rows = [_result_row(row, ours=row["name"] == set_name) for row in result["evaluations"]]
    else:
        evaluated = [row for row in metrics if row.get("accuracy/mean")]
        rows = [_metrics_row(record, row) for row in evaluated[-1:]]
    return rows + list(_paper_rows(record))


def _result_row(row: Mapping[str, Any], ours: bool) -> _Row:
    accuracy = row["accuracy"]
    return _Row(
        name=row["name"],
        images=row["images"],
        network=row["architecture"],
        epochs=accuracy["epochs"],
        accuracy=f"{accuracy['mean']:.2f} ± {accuracy['std']:.2f}",
        n=accuracy["n"],
        ours=ours,
        storage=format_bytes(row["storage_bytes"]) if "storage_bytes" in row else "",
    )


def _metrics_row(record: RunRecord, row: Mapping[str, str]) -> _Row:
    # The set at the last quick evaluation.
    config = record.config
    return _Row(
        name=f"condensed, after {float(row['iteration']):.0f} iterations",
        images=images_per_class(config) * len(config["dataset"]["classes"] or []) or "",
        network=record.architecture,
        epochs=config["evaluation"]["epochs"],
        accuracy=f"{float(row['accuracy/mean']):.2f} ± {float(row['accuracy/std']):.2f}",
        n=config["evaluation"]["quick_networks"],
        ours=True,
    )


def _paper_rows(record: RunRecord) -> Iterable[_Row]:
    for cell, accuracy in paper_accuracies_for(record):
        table = TITLES[cell.table].split(":")[0]
        yield _Row(
            name=f"the paper ({table}, {cell.choice})",
            images="",
            network=cell.target or "convnet",
            epochs="",
            accuracy=f"{accuracy}".replace("±", " ± "),
            n="",
        )


def _baselines(record: RunRecord, result: Mapping[str, Any] | None) -> dict[str, float]:
    # Accuracies to compare the accuracy curve with: the run's baselines and the paper's cell.
    evaluations = [] if result is None else result["evaluations"]
    measured = {
        row["name"]: row["accuracy"]["mean"]
        for row in evaluations[1:]
        if row["name"] != evaluations[0]["name"] and row["architecture"] == evaluations[0]["architecture"]
    }
    paper = {f"the paper, {cell.choice}": accuracy.mean for cell, accuracy in paper_accuracies_for(record)}
    return measured | dict(list(paper.items())[:1])
