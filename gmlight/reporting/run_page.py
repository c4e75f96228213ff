"""report.html of one run, in one file that needs no network and no account."""

import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gmlight.artifacts.metrics_csv import read_metrics
from gmlight.artifacts.record import headline
from gmlight.artifacts.results import images_per_class
from gmlight.artifacts.run_folder import RunFolder
from gmlight.reporting.collect import paper_figures
from gmlight.reporting.curves import curves
from gmlight.reporting.html import data_uri, render, samples, written
from gmlight.reporting.paper import TITLES
from gmlight.runtime.atomic import atomic_write
from gmlight.runtime.console import format_bytes, format_duration, pluralize

PAGE = "report.html"
PICTURES, PICTURES_BYTES = 24, 12 * 2**20  # of S over time, that one page holds at most


@dataclass(frozen=True)
class State:
    """How far a run is: `condensing`, `evaluating`, `finished` or `stopped`; done: outer iterations of total.

    elapsed, left: seconds, where they are known. said: why it has stopped.
    """

    name: str
    done: int
    total: int
    elapsed: float | None = None
    left: float | None = None
    said: str = ""


@dataclass(frozen=True)
class _Picture:
    iteration: int
    text: str
    source: str


@dataclass(frozen=True)
class _Row:
    name: str
    images: object
    network: str
    epochs: object
    accuracy: str
    n: object
    ours: bool = False
    stored: str = ""


def write_run_page(folder: Path, record: dict[str, Any], classes: Sequence[str], state: State) -> Path:
    """Writes the run folder's report.html anew, from what is in the folder.

    Args:
        record: of `config.describe`, with its labels.
    """
    config, lines = record["config"], read_metrics(RunFolder(folder).metrics)
    result = _result(folder) if state.name == "finished" else None
    name, logged = config["dataset"]["name"], bool(config["logger"].get("csv"))
    content = render(
        "run.html",
        title=f"{name}, {pluralize(config['ipc'], 'image')} per class",
        subtitle=headline(record),
        state={
            "name": state.name, "done": state.done, "total": state.total, "said": state.said,
            "elapsed": "" if state.elapsed is None else format_duration(state.elapsed),
            "left": "" if state.left is None else format_duration(state.left),
        },
        folder=shlex.quote(str(folder.resolve())),
        finished=result is not None,
        learned=bool(config["iterations"]),
        pictures=_pictures(samples(folder), classes, "Synthetic" if config["iterations"] else "Real"),
        pictures_left_out=bool(samples(folder)),
        accuracies=_accuracies(record, lines, result),
        protocol=record.get("protocol", "plain"),
        curves=curves(lines, _beside(record, result)),
        no_curves=_why_no_curves(logged, finished=result is not None),
        command=record["command"],
        environment=_environment(result),
        config=yaml.safe_dump(config, sort_keys=False),
        **written(),
    )  # fmt: skip
    path = folder / PAGE
    with atomic_write(path) as file:
        file.write_text(content, encoding="utf-8")
    return path


def _result(folder: Path) -> dict[str, Any] | None:
    path = folder / "result.json"
    return json.loads(path.read_text()) if path.exists() else None


def _environment(result: dict[str, Any] | None) -> dict[str, str]:
    # Not the machine's name: pages are handed on.
    if result is None:
        return {}
    times = {f"time {name}": format_duration(value) for name, value in result["seconds"].items()}
    return {name: value for name, value in result["environment"].items() if name != "host"} | times


def _why_no_curves(logged: bool, finished: bool) -> str:
    if not logged:
        return "Add csv to logger to have curves here."
    return "The run was too short for curves." if finished else "There is nothing to draw yet."


def _pictures(paths: Sequence[Path], classes: Sequence[str], kind: str) -> list[_Picture]:
    # Evenly spread over time, the last among them, as many as a page can bear.
    if not paths:
        return []
    most = min(PICTURES, len(paths), PICTURES_BYTES // max(path.stat().st_size for path in paths))
    chosen = [paths[-1 - round(i * (len(paths) - 1) / max(1, most - 1))] for i in reversed(range(most))]
    names = ", ".join(classes[:20]) + (", ..." if len(classes) > 20 else "")
    return [
        _Picture(
            int(path.stem),
            f"{kind} images after {int(path.stem)} outer iterations, a row a class: {names}",
            data_uri(path),
        )
        for path in chosen
    ]


def _accuracies(
    record: dict[str, Any], lines: Sequence[dict[str, str]], result: dict[str, Any] | None
) -> list[_Row]:
    config = record["config"]
    if result is not None:
        first = result["evaluations"][0]["name"]
        rows = [_of_result(row, ours=row["name"] == first) for row in result["evaluations"]]
    else:
        evaluated = [line for line in lines if line.get("accuracy/mean")]
        rows = [
            _Row(
                f"condensed, after {float(line['iteration']):.0f} iterations",
                images_per_class(config) * len(config["dataset"]["classes"] or []) or "",
                record["architecture"],
                config["evaluation"]["epochs"],
                f"{float(line['accuracy/mean']):.2f} ± {float(line['accuracy/std']):.2f}",
                config["evaluation"]["quick_networks"],
                ours=True,
            )
            for line in evaluated[-1:]
        ]
    return rows + list(_of_paper(record))


def _of_result(row: dict[str, Any], ours: bool) -> _Row:
    accuracy = row["accuracy"]
    shown = f"{accuracy['mean']:.2f} ± {accuracy['std']:.2f}"
    stored = format_bytes(row["storage_bytes"]) if "storage_bytes" in row else ""
    return _Row(
        row["name"],
        row["images"],
        row["architecture"],
        accuracy["epochs"],
        shown,
        accuracy["n"],
        ours,
        stored,
    )


def _of_paper(record: dict[str, Any]) -> Iterable[_Row]:
    for cell, figure in paper_figures(record):
        title = TITLES[cell.table].split(":")[0]
        shown = f"{figure.mean}" + ("" if figure.std is None else f" ± {figure.std}")
        yield _Row(f"the paper ({title}, {cell.choice})", "", cell.target or "convnet", "", shown, "")


def _beside(record: dict[str, Any], result: dict[str, Any] | None) -> dict[str, float]:
    evaluations = [] if result is None else result["evaluations"]
    own = evaluations[:1]
    beside = {
        row["name"]: row["accuracy"]["mean"]
        for row in evaluations[1:]
        if row["name"] != own[0]["name"] and row["architecture"] == own[0]["architecture"]
    }
    of_paper = {f"the paper, {cell.choice}": figure.mean for cell, figure in paper_figures(record)}
    return beside | dict(list(of_paper.items())[:1])
