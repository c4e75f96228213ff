"""Gathers runs into the paper's tables: `python -m gmlight.report runs='runs/table1/*'`."""

from pathlib import Path

from gmlight.reporting.collect import gather
from gmlight.reporting.figures import save_plots
from gmlight.reporting.runs_page import Table, write_runs_page
from gmlight.reporting.tables import EXPLANATION, HEADINGS, as_csv, as_markdown, commands_of, show, tables_of
from gmlight.runtime.console import check_output_paths, new_console


def report(words: dict[str, str]) -> None:
    """Prints the paper's tables; writes them and plots of the runs on request.

    Args:
        words: `runs`, and the paths of what is written: `html`, `markdown`, `csv`, `plots`.
    """
    paths = {kind: Path(path) for kind, path in words.items() if kind != "runs"}
    check_output_paths(paths)
    gathered, console = gather(words["runs"].split(",")), new_console()
    show(gathered, console)
    if "html" in paths:
        tables = [
            Table(title, HEADINGS, rows, commands_of(entries)) for title, rows, entries in tables_of(gathered)
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
