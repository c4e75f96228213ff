"""Tables of results: on the terminal, in Markdown, in CSV."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.table import Table as Printed

from gmlight.artifacts.record import headline
from gmlight.artifacts.results import Evaluation
from gmlight.reporting.collect import OTHER, Entry, Gathered
from gmlight.reporting.paper import TITLES, Cell, Figure, rank
from gmlight.runtime.console import format_bytes


def print_table(rows: Sequence[Evaluation], record: dict[str, Any], console: Console) -> None:
    """Test accuracies: mean ± population std over n networks, in percent; storage: of its numbers."""
    title = f"{headline(record)}, protocol {rows[0].accuracy.protocol}"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_style="bold", title_justify="left")
    for heading in ("training set", "images", "storage", "network", "epochs", "accuracy %", "n"):
        numeric = heading not in ("training set", "network")
        table.add_column(heading, justify="right" if numeric else "left")
    for row in rows:
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


COLUMNS = (
    "table", "dataset", "ipc", "choice", "target", "scale", "storage_bytes", "mean", "std",
    "std_between_seeds", "seeds", "networks", "paper_mean", "paper_std", "command",
)  # fmt: skip
HEADINGS = ("ipc", "choice", "target", "scale", "storage", "ours", "between", "n", "paper", "diff")
EXPLANATION = (
    "ours: mean ± population std over n networks of all seeds, in percent; between: std of the seeds' means; "
    "diff: ours less the paper's mean, in units of the paper's std; storage: of a set's numbers"
)


def rows_of(gathered: Gathered, table: str, dataset: str) -> list[list[str]]:
    """The table's rows for a dataset: the paper's cells in its order, run or not, then others that were run.

    Of the paper's cells those in whose row one was run; a cell that was not has nothing of ours in it.
    """
    entries = _entries(gathered, table, dataset)

    # The row of the paper's table: where there are targets it is a source, else a dataset at an ipc.
    def row(cell: Cell) -> tuple[str, str, int, str]:
        return cell.table, cell.dataset, cell.ipc, cell.choice if cell.target else ""

    begun = {row(entry.cell) for entry in entries}
    wanted = [cell for cell in gathered.figures if row(cell) in begun]
    cells = wanted + sorted({entry.cell for entry in entries} - set(wanted), key=_order)
    rows = []
    for cell in cells:
        of_cell = [entry for entry in entries if entry.cell == cell]
        for entry in of_cell or [Entry(dataset, cell, "")]:
            rows.append(_row(entry, gathered.figures.get(cell)))
    return rows


def _order(cell: Cell) -> tuple[int, tuple[int, str], str]:
    return cell.ipc, rank(cell.choice), cell.target


def _entries(gathered: Gathered, table: str, dataset: str) -> list[Entry]:
    return [entry for entry in gathered.entries[table] if entry.dataset == dataset]


def _row(entry: Entry, figure: Figure | None) -> list[str]:
    done, between = bool(entry.values), entry.between
    theirs = difference = ""
    if figure is not None:
        theirs = f"{figure.mean}" + ("" if figure.std is None else f"±{figure.std}")
        if done and figure.std:
            difference = f"{(entry.mean - figure.mean) / figure.std:+.1f}"
    return [
        str(entry.cell.ipc),
        entry.cell.choice,
        entry.cell.target,
        entry.scale,
        "" if entry.storage_bytes is None else format_bytes(entry.storage_bytes),
        f"{entry.mean:.2f}±{entry.std:.2f}" if done else "",
        "" if between is None else f"{between:.2f}",
        entry.n if done else "",
        theirs,
        difference,
    ]


def tables_of(gathered: Gathered) -> Iterable[tuple[str, list[list[str]], list[Entry]]]:
    # Title, rows and what was run, in the paper's order, a table a dataset.
    titles = TITLES | {OTHER: "Other runs, not of the paper's tables"}
    for table, title in titles.items():
        for dataset in sorted({entry.dataset for entry in gathered.entries.get(table, [])}):
            rows = rows_of(gathered, table, dataset)
            yield f"{title}, {dataset}", rows, _entries(gathered, table, dataset)


def show(gathered: Gathered, console: Console) -> None:
    """Prints the tables, and then what is to be said of the runs."""
    for title, rows, entries in tables_of(gathered):
        used = [i for i in range(len(HEADINGS)) if any(row[i] for row in rows)]
        table = Printed(
            title=title,
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            title_style="bold",
            title_justify="left",
        )
        for i in used:
            wraps = HEADINGS[i] in ("choice", "scale")
            table.add_column(HEADINGS[i], justify="left" if 0 < i < 4 else "right", no_wrap=not wraps)
        for row in rows:
            table.add_row(*(row[i] for i in used))
        console.print(table)
        for command in commands_of(entries):
            console.print(command, style="dim", soft_wrap=True)
        console.print()
    console.print(EXPLANATION)
    for note in gathered.notes:
        console.print(note, soft_wrap=True)


def as_markdown(gathered: Gathered) -> str:
    """The tables, and the command of every run."""
    lines: list[str] = []
    for title, rows, entries in tables_of(gathered):
        lines += [f"## {title}", "", "| " + " | ".join(HEADINGS) + " |", "|---" * len(HEADINGS) + "|"]
        lines += ["| " + " | ".join(row) + " |" for row in rows]
        lines += ["", "```", *commands_of(entries), "```", ""]
    lines += [EXPLANATION + ".", ""]
    lines += [f"- {note}" for note in gathered.notes]
    return "\n".join(lines).rstrip() + "\n"


def commands_of(entries: list[Entry]) -> list[str]:
    return list(dict.fromkeys(entry.command for entry in entries))


def as_csv(gathered: Gathered) -> str:
    """A line a cell and scale, with figures as numbers."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for entries in gathered.entries.values():
        for entry in entries:
            figure, cell = gathered.figures.get(entry.cell), entry.cell
            writer.writerow(
                [
                    cell.table,
                    entry.dataset,
                    cell.ipc,
                    cell.choice,
                    cell.target,
                    entry.scale,
                    entry.storage_bytes,
                ]
                + [entry.mean, entry.std, entry.between, len(entry.values), len(entry.pooled)]
                + ([figure.mean, figure.std] if figure else ["", ""])
                + [entry.command]
            )
    return file.getvalue()
