"""Gathers runs into the paper's tables: `python -m gmlight.report runs='runs/table1/*'`."""

import csv
import io
import sys
from collections.abc import Iterable
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table as Printed

from gmlight.errors import ConfigError
from gmlight.gathering import OTHER, Entry, Gathered, gather
from gmlight.page import Table, write_runs_page
from gmlight.paper import TITLES, Cell, Figure, rank
from gmlight.plots import save_plots
from gmlight.results import in_bytes, new_console, refuse_bad_paths

USAGE = """usage: python -m gmlight.report runs=<folders or globs, separated by commas>
           [html=PATH] [markdown=PATH] [csv=PATH] [plots=FOLDER]"""
OUTPUTS = ("html", "markdown", "csv", "plots")
COLUMNS = (
    "table", "dataset", "ipc", "choice", "target", "scale", "storage_bytes", "mean", "std",
    "std_between_seeds", "seeds", "networks", "paper_mean", "paper_std", "command",
)  # fmt: skip
HEADINGS = ("ipc", "choice", "target", "scale", "storage", "ours", "between", "n", "paper", "diff")
EXPLANATION = (
    "ours: mean ± population std over n networks of all seeds, in percent; between: std of the seeds' means; "
    "diff: ours less the paper's mean, in units of the paper's std; storage: of a set's numbers"
)


def main() -> None:
    words = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    if len(words) != len(sys.argv[1:]) or not {"runs"} <= words.keys() <= {"runs", *OUTPUTS}:
        sys.exit(USAGE)
    try:
        report(words)
    except ConfigError as error:
        sys.exit(f"gmlight: {error}")


def report(words: dict[str, str]) -> None:
    """Prints the tables, and writes them, and plots of the runs, where `words` say."""
    paths = {kind: Path(words[kind]) for kind in OUTPUTS if kind in words}
    refuse_bad_paths(paths)
    gathered, console = gather(words["runs"].split(",")), new_console()
    show(gathered, console)
    if "html" in paths:
        tables = [
            Table(title, HEADINGS, rows, _commands(entries)) for title, rows, entries in _tables(gathered)
        ]
        write_runs_page(paths["html"], gathered.runs, tables, gathered.notes, f"{EXPLANATION}.")
    if "markdown" in paths:
        paths["markdown"].write_text(as_markdown(gathered))
    if "csv" in paths:
        paths["csv"].write_text(as_csv(gathered))
    if "plots" in paths and not save_plots(gathered, paths["plots"]):
        console.print(
            f"plots={paths['plots']}: nothing to plot; it takes one dataset's Table 3 at two ipc or more, or "
            "runs with schedule=until_overfit"
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
        "" if entry.storage_bytes is None else in_bytes(entry.storage_bytes),
        f"{entry.mean:.2f}±{entry.std:.2f}" if done else "",
        "" if between is None else f"{between:.2f}",
        entry.n if done else "",
        theirs,
        difference,
    ]


def _tables(gathered: Gathered) -> Iterable[tuple[str, list[list[str]], list[Entry]]]:
    # Title, rows and what was run, in the paper's order, a table a dataset.
    titles = TITLES | {OTHER: "Other runs, not of the paper's tables"}
    for table, title in titles.items():
        for dataset in sorted({entry.dataset for entry in gathered.entries.get(table, [])}):
            rows = rows_of(gathered, table, dataset)
            yield f"{title}, {dataset}", rows, _entries(gathered, table, dataset)


def show(gathered: Gathered, console: Console) -> None:
    """Prints the tables, and then what is to be said of the runs."""
    for title, rows, entries in _tables(gathered):
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
        for command in _commands(entries):
            console.print(command, style="dim", soft_wrap=True)
        console.print()
    console.print(EXPLANATION)
    for note in gathered.notes:
        console.print(note, soft_wrap=True)


def as_markdown(gathered: Gathered) -> str:
    """The tables, and the command of every run."""
    lines: list[str] = []
    for title, rows, entries in _tables(gathered):
        lines += [f"## {title}", "", "| " + " | ".join(HEADINGS) + " |", "|---" * len(HEADINGS) + "|"]
        lines += ["| " + " | ".join(row) + " |" for row in rows]
        lines += ["", "```", *_commands(entries), "```", ""]
    lines += [EXPLANATION + ".", ""]
    lines += [f"- {note}" for note in gathered.notes]
    return "\n".join(lines).rstrip() + "\n"


def _commands(entries: list[Entry]) -> list[str]:
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


if __name__ == "__main__":
    main()
