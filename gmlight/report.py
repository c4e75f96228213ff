"""Gathers runs into the paper's tables: `python -m gmlight.report runs='runs/table1/*'`."""

import sys
from pathlib import Path

from gmlight.errors import ConfigError
from gmlight.reporting.collect import gather
from gmlight.reporting.figures import save_plots
from gmlight.reporting.runs_page import Table, write_runs_page
from gmlight.reporting.tables import EXPLANATION, HEADINGS, as_csv, as_markdown, commands_of, show, tables_of
from gmlight.runtime.console import check_output_paths, new_console

USAGE = """usage: python -m gmlight.report runs=<folders or globs, separated by commas>
           [html=PATH] [markdown=PATH] [csv=PATH] [plots=FOLDER]"""
OUTPUTS = ("html", "markdown", "csv", "plots")


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


if __name__ == "__main__":
    main()
