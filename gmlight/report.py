"""Gathers runs into the paper's tables: `python -m gmlight.report runs='runs/table1/*'`."""

import csv
import io
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from gmlight.errors import ConfigError
from gmlight.paper import TITLES, Cell, Figure, cells_of, figures, name_of
from gmlight.results import folders_named, new_console, refuse_bad_paths

USAGE = (
    "usage: python -m gmlight.report runs=<folders or globs, separated by commas> [markdown=PATH] [csv=PATH]"
)
KEYS = ("runs", "markdown", "csv")
OTHER = "other"
COLUMNS = (
    "table", "dataset", "ipc", "choice", "target", "scale", "mean", "std", "std_between_seeds", "seeds",
    "networks", "paper_mean", "paper_std", "commands",
)  # fmt: skip
HEADINGS = ("ipc", "choice", "target", "scale", "ours", "between", "n", "paper", "diff")
EXPLANATION = (
    "ours: mean ± population std over n networks of all seeds, in percent; between: std of the seeds' means; "
    "diff: ours less the paper's mean, in units of the paper's std"
)


@dataclass
class Entry:
    """What was measured for one cell at one scale: by seed, the accuracies of its networks."""

    dataset: str
    cell: Cell
    scale: str
    values: dict[int, list[float]] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)

    @property
    def pooled(self) -> list[float]:
        return [value for of_seed in self.values.values() for value in of_seed]

    @property
    def between(self) -> float | None:
        """Population std of the seeds' means; null: there is one seed."""
        means = [statistics.fmean(of_seed) for of_seed in self.values.values()]
        return statistics.pstdev(means) if len(means) > 1 else None


@dataclass
class Report:
    """Entries by table, what the paper has beside them, and what is to be said of the runs."""

    entries: dict[str, list[Entry]]
    figures: dict[Cell, Figure]
    notes: list[str]


def main() -> None:
    words = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    if not sys.argv[1:] or len(words) != len(sys.argv[1:]) or not {"runs"} <= words.keys() <= set(KEYS):
        sys.exit(USAGE)
    try:
        report(words)
    except ConfigError as error:
        sys.exit(f"gmlight: {error}")


def report(words: dict[str, str]) -> None:
    """Prints the tables, and writes them where `markdown` and `csv` say."""
    paths: dict[str, Path] = {kind: Path(words[kind]) for kind in ("markdown", "csv") if kind in words}
    refuse_bad_paths(paths)
    gathered = gather(words["runs"].split(","))
    show(gathered, new_console())
    writers = {"markdown": as_markdown, "csv": as_csv}
    for kind, path in paths.items():
        path.write_text(writers[kind](gathered))


def gather(patterns: list[str]) -> Report:
    """All runs in the folders that the patterns name, at any depth.

    Raises:
        ConfigError: there is none.
    """
    paths = sorted({path for folder in folders_named(patterns) for path in folder.rglob("result.json")})
    claimed = {path.parent for folder in folders_named(patterns) for path in folder.rglob("config.yaml")}
    unfinished = sorted(claimed - {path.parent for path in paths})
    notes = [f"{folder}: has no result.json; it failed, or is not finished" for folder in unfinished]
    known = figures()
    entries: dict[tuple[str, Cell, str], Entry] = {}
    for path in paths:
        try:
            filled = list(_cells(json.loads(path.read_text()), known))
        except (OSError, ValueError, KeyError, TypeError) as error:
            notes.append(f"{path}: cannot be read as a result of gmlight.train ({error!r})")
            continue
        for dataset, cell, scale, seed, values, command in filled:
            entry = entries.setdefault((dataset, cell, scale), Entry(dataset, cell, scale))
            if seed in entry.values:
                notes.append(f"{path.parent}: another run of seed {seed} is counted in its place")
                continue
            entry.values[seed] = values
            entry.commands.append(command)
    if not entries and not notes:
        raise ConfigError(f"runs={','.join(patterns)}: no run there; name folders with a result.json in them")
    by_table: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries.values():
        by_table[entry.cell.table].append(entry)
    return Report(by_table, known, list(dict.fromkeys(notes)))


def _cells(
    result: dict[str, Any], known: dict[Cell, Figure]
) -> Iterable[tuple[str, Cell, str, int, list[float], str]]:
    # What a result fills: dataset as it is called, cell, scale, seed, accuracies, command.
    if "blank" in result:
        return
    config, choices = result["config"], result["choices"]
    dataset, ipc = config["dataset"]["name"], config["ipc"]
    name = name_of(dataset, {cell.dataset for cell in known})
    first = result["evaluations"][0]["name"]  # the others are baselines
    plain = not result["departures"] and "," not in result["architecture"]
    for row in result["evaluations"]:
        if row["name"] != first:
            continue
        target = row["architecture"].split(" ")[0]
        cells = cells_of(choices, name, ipc, result["method"], target) if plain else []
        cells = [cell for cell in cells if cell in known or cell.table == "table3"]
        for cell in cells or [Cell(OTHER, name, ipc, result["method"], row["architecture"])]:
            values = row["accuracy"]["values"]
            yield dataset, cell, result["scale"], config["seed"], values, result["command"]


def rows_of(gathered: Report, table: str, dataset: str) -> list[list[str]]:
    """The table's rows for a dataset: the paper's cells in its order, run or not, then others that were run.

    Of the paper's cells those in whose row one was run; a cell that was not has nothing of ours in it.
    """
    entries = _entries(gathered, table, dataset)

    # The row of the paper's table: where there are targets it is a source, else a dataset at an ipc.
    def row(cell: Cell) -> tuple[str, str, int, str]:
        return cell.table, cell.dataset, cell.ipc, cell.choice if cell.target else ""

    begun = {row(entry.cell) for entry in entries}
    wanted = [cell for cell in gathered.figures if row(cell) in begun]
    cells = wanted + sorted({entry.cell for entry in entries} - set(wanted), key=str)
    rows = []
    for cell in cells:
        of_cell = [entry for entry in entries if entry.cell == cell]
        for entry in of_cell or [Entry(dataset, cell, "")]:
            rows.append(_row(entry, gathered.figures.get(cell)))
    return rows


def _entries(gathered: Report, table: str, dataset: str) -> list[Entry]:
    return [entry for entry in gathered.entries[table] if entry.dataset == dataset]


def _row(entry: Entry, figure: Figure | None) -> list[str]:
    pooled, between = entry.pooled, entry.between
    ours = f"{statistics.fmean(pooled):.2f}±{statistics.pstdev(pooled):.2f}" if pooled else ""
    theirs = difference = ""
    if figure is not None:
        theirs = f"{figure.mean}" + ("" if figure.std is None else f"±{figure.std}")
        if pooled and figure.std:
            difference = f"{(statistics.fmean(pooled) - figure.mean) / figure.std:+.1f}"
    seeds = f"{len(entry.values)}x{len(next(iter(entry.values.values())))}" if pooled else ""
    return [
        str(entry.cell.ipc),
        entry.cell.choice,
        entry.cell.target,
        entry.scale,
        ours,
        "" if between is None else f"{between:.2f}",
        seeds,
        theirs,
        difference,
    ]


def _tables(gathered: Report) -> Iterable[tuple[str, list[list[str]], list[Entry]]]:
    # Title, rows and what was run, in the paper's order, a table a dataset.
    titles = TITLES | {OTHER: "Other runs, not of the paper's tables"}
    for table, title in titles.items():
        for dataset in sorted({entry.dataset for entry in gathered.entries.get(table, [])}):
            rows = rows_of(gathered, table, dataset)
            yield f"{title}, {dataset}", rows, _entries(gathered, table, dataset)


def show(gathered: Report, console: Console) -> None:
    """Prints the tables, and then what is to be said of the runs."""
    for title, rows, _ in _tables(gathered):
        used = [i for i in range(len(HEADINGS)) if any(row[i] for row in rows)]
        table = Table(
            title=title,
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            title_style="bold",
            title_justify="left",
        )
        for i in used:
            wraps = HEADINGS[i] == "choice"
            table.add_column(HEADINGS[i], justify="left" if 0 < i < 4 else "right", no_wrap=not wraps)
        for row in rows:
            table.add_row(*(row[i] for i in used))
        console.print(table)
    console.print(EXPLANATION)
    for note in gathered.notes:
        console.print(note, soft_wrap=True)


def as_markdown(gathered: Report) -> str:
    """The tables, and the command of every run."""
    lines: list[str] = []
    for title, rows, entries in _tables(gathered):
        lines += [f"## {title}", "", "| " + " | ".join(HEADINGS) + " |", "|---" * len(HEADINGS) + "|"]
        lines += ["| " + " | ".join(row) + " |" for row in rows]
        commands = [command for entry in entries for command in entry.commands]
        lines += ["", "```", *commands, "```", ""]
    lines += [EXPLANATION + ".", ""]
    lines += [f"- {note}" for note in gathered.notes]
    return "\n".join(lines).rstrip() + "\n"


def as_csv(gathered: Report) -> str:
    """A line a cell and scale, with figures as numbers."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for entries in gathered.entries.values():
        for entry in entries:
            figure, cell = gathered.figures.get(entry.cell), entry.cell
            writer.writerow(
                [cell.table, entry.dataset, cell.ipc, cell.choice, cell.target, entry.scale]
                + [statistics.fmean(entry.pooled), statistics.pstdev(entry.pooled), entry.between]
                + [len(entry.values), len(entry.pooled)]
                + ([figure.mean, figure.std] if figure else ["", ""])
                + ["; ".join(entry.commands)]
            )
    return file.getvalue()


if __name__ == "__main__":
    main()
