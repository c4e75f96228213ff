"""Lays out tables of accuracies for the terminal, Markdown and CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from gmlight.artifacts.inert import code_fence, markdown_text, spreadsheet_text
from gmlight.artifacts.results import Evaluation
from gmlight.artifacts.robust_scores import label_robust_scores
from gmlight.reporting.collect import RunCollection
from gmlight.reporting.entries import Entry
from gmlight.reporting.measurements import OTHER
from gmlight.reporting.paper import TITLES, Cell, PaperAccuracy, choice_order, is_comparable, is_full_scale
from gmlight.runtime.console import format_bytes

COLUMNS = (
    "table", "dataset", "ipc", "choice", "target", "scale", "storage_bytes", "mean", "std",
    "std_between_seeds", "seeds", "networks", "paper_mean", "paper_std", "command",
)  # fmt: skip
HEADINGS = ("ipc", "choice", "target", "scale", "storage", "ours", "between", "n", "paper", "diff")
EXPLANATION = (
    "ours: test accuracy in percent, mean ± population std over the networks of all seeds; "
    "between: std of the seeds' means; n: seeds x networks per seed; "
    "paper: the paper's accuracy, beside scale=paper and scale=reduced; diff: our mean minus the paper's at "
    "scale=paper, in units of the paper's std; "
    "storage: size of the set's stored values, 4 bytes each"
)


@dataclass(frozen=True)
class ResultTable:
    """One of the paper's tables for one dataset.

    Args:
        title: names the table and the dataset.
        rows: cells as text, in the order of `HEADINGS`.
        commands: commands that gave the results.
    """

    title: str
    rows: list[list[str]]
    commands: list[str]


def print_table(evaluations: Sequence[Evaluation], headline: str, console: Console) -> None:
    """Prints the accuracies of one run or of one evaluation.

    Args:
        evaluations: one per row.
        headline: of the set's run.
        console: where to print.
    """
    title = f"{headline}, protocol {evaluations[0].accuracy.protocol}"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_style="bold", title_justify="left")
    for heading in ("training set", "images", "storage", "network", "epochs", "accuracy %", "n"):
        numeric = heading not in ("training set", "network")
        table.add_column(heading, justify="right" if numeric else "left")
    for row in evaluations:
        cells = (
            row.name,
            row.images,
            format_bytes(row.storage_bytes),
            row.architecture,
            row.accuracy.epochs,
            row.accuracy,
            len(row.accuracy.values),
        )
        table.add_row(*map(str, cells))
    console.print(table)
    for line in score_lines([each.as_dict() for each in evaluations]):
        console.print(line)


def score_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Says the label-robust score on each architecture that has both baselines.

    Args:
        rows: outputs of `Evaluation.as_dict`, of the set and then of its baselines.
    """
    return [
        f"label-robust score {score:.3f} on {architecture}, between random images and the whole set"
        for architecture, score in label_robust_scores(rows).items()
    ]


def result_tables(runs: RunCollection) -> list[ResultTable]:
    """Lays out the runs as the paper's tables, in the paper's order, one table per dataset."""
    titles = TITLES | {OTHER: "Other runs, not in the paper's tables"}
    tables = []
    for table, title in titles.items():
        for dataset in sorted({entry.dataset for entry in runs.entries.get(table, [])}):
            commands = [entry.command for entry in _entries(runs, table, dataset)]
            rows = table_rows(runs, table, dataset)
            tables.append(ResultTable(f"{title}, {dataset}", rows, list(dict.fromkeys(commands))))
    return tables


def table_rows(runs: RunCollection, table: str, dataset: str) -> list[list[str]]:
    """Lays out one table for one dataset.

    Args:
        runs: of any tables and datasets.
        table: a key of `TITLES`, or `OTHER`.
        dataset: the dataset's name in the runs.

    Returns:
        Rows in the order of `HEADINGS`: first the paper's cells in the paper's order, then other cells. Rows
        of the paper's table without a run are left out; cells without a run have no accuracy of ours.
    """
    entries = _entries(runs, table, dataset)
    rows_with_runs = {_paper_row(entry.cell) for entry in entries}
    in_paper = [cell for cell in runs.paper if _paper_row(cell) in rows_with_runs]
    beyond = {entry.cell for entry in entries} - set(in_paper)
    rows = []
    for cell in in_paper + sorted(beyond, key=_cell_order):
        found = [entry for entry in entries if entry.cell == cell]
        rows += [_row(entry, runs.paper.get(cell)) for entry in found or [Entry(dataset, cell, scale="")]]
    return rows


def print_tables(runs: RunCollection, console: Console) -> None:
    """Prints the tables with their commands, the explanation and the notes."""
    for table in result_tables(runs):
        _print_result_table(table, console)
        for command in table.commands:
            console.print(command, style="dim", soft_wrap=True)
        console.print()
    console.print(EXPLANATION)
    for note in runs.notes:
        console.print(note, soft_wrap=True)


def as_markdown(runs: RunCollection) -> str:
    """Formats the tables with their commands, the explanation and the notes as Markdown."""
    lines: list[str] = []
    for table in result_tables(runs):
        lines += [f"## {markdown_text(table.title)}", ""]
        lines += ["| " + " | ".join(HEADINGS) + " |", "|---" * len(HEADINGS) + "|"]
        lines += ["| " + " | ".join(map(markdown_text, row)) + " |" for row in table.rows]
        fence = code_fence("\n".join(table.commands))
        lines += ["", fence, *table.commands, fence, ""]
    lines += [EXPLANATION + ".", ""]
    lines += [f"- {markdown_text(note)}" for note in runs.notes]
    return "\n".join(lines).rstrip() + "\n"


def as_csv(runs: RunCollection) -> str:
    """Formats the accuracies as CSV, one row per cell and scale."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for entries in runs.entries.values():
        for entry in entries:
            writer.writerow(map(spreadsheet_text, _csv_row(entry, runs.paper.get(entry.cell))))
    return file.getvalue()


def _entries(runs: RunCollection, table: str, dataset: str) -> list[Entry]:
    return [entry for entry in runs.entries[table] if entry.dataset == dataset]


def _paper_row(cell: Cell) -> tuple[str, str, int, str]:
    # Tables with targets have a row per source architecture; others a row per dataset and ipc.
    return cell.table, cell.dataset, cell.ipc, cell.choice if cell.target else ""


def _cell_order(cell: Cell) -> tuple[int, tuple[int, str], str]:
    return cell.ipc, choice_order(cell.choice), cell.target


def _row(entry: Entry, paper: PaperAccuracy | None) -> list[str]:
    measured, between = bool(entry.accuracies), entry.std_between_seeds
    difference = ""
    if measured and not is_comparable(entry.scale):
        paper = None
    if measured and is_full_scale(entry.scale) and paper is not None and paper.std:
        difference = f"{(entry.mean - paper.mean) / paper.std:+.1f}"
    return [
        str(entry.cell.ipc),
        entry.cell.choice,
        entry.cell.target,
        entry.scale,
        "" if entry.storage_bytes is None else format_bytes(entry.storage_bytes),
        f"{entry.mean:.2f}±{entry.std:.2f}" if measured else "",
        "" if between is None else f"{between:.2f}",
        entry.n if measured else "",
        "" if paper is None else str(paper),
        difference,
    ]


def _csv_row(entry: Entry, paper: PaperAccuracy | None) -> list[Any]:
    cell, paper = entry.cell, paper if is_comparable(entry.scale) else None
    where = [cell.table, entry.dataset, cell.ipc, cell.choice, cell.target, entry.scale, entry.storage_bytes]
    ours = [entry.mean, entry.std, entry.std_between_seeds, len(entry.accuracies), len(entry.pooled)]
    theirs = ["", ""] if paper is None else [paper.mean, paper.std]
    return [*where, *ours, *theirs, entry.command]


def _print_result_table(table: ResultTable, console: Console) -> None:
    # Leaves out columns that are empty in all rows.
    used = [i for i in range(len(HEADINGS)) if any(row[i] for row in table.rows)]
    printed = Table(
        title=table.title,
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title_style="bold",
        title_justify="left",
    )
    for i in used:
        wraps = HEADINGS[i] in ("choice", "scale")
        printed.add_column(HEADINGS[i], justify="left" if 0 < i < 4 else "right", no_wrap=not wraps)
    for row in table.rows:
        printed.add_row(*(row[i] for i in used))
    console.print(printed)
