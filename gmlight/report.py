"""Collects runs into the paper's tables: `python -m gmlight.report runs='runs/table1/*'`."""

import sys
from pathlib import Path

from gmlight.errors import ConfigError
from gmlight.reporting.collect import collect_runs
from gmlight.reporting.figures import save_plots
from gmlight.reporting.runs_page import write_runs_page
from gmlight.reporting.tables import as_csv, as_markdown, show
from gmlight.runtime.console import new_console, refuse_bad_paths

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
    """Prints the tables, and writes tables and figures where they are asked for.

    Args:
        words: of the command line, by key: `runs` and any of `OUTPUTS`.

    Raises:
        ConfigError: there is no run, or an output exists already.
    """
    paths = {kind: Path(words[kind]) for kind in OUTPUTS if kind in words}
    refuse_bad_paths(paths)
    runs, console = collect_runs(words["runs"].split(",")), new_console()
    show(runs, console)
    if "html" in paths:
        write_runs_page(paths["html"], runs)
    if "markdown" in paths:
        paths["markdown"].write_text(as_markdown(runs))
    if "csv" in paths:
        paths["csv"].write_text(as_csv(runs))
    if "plots" in paths and not save_plots(runs, paths["plots"]):
        console.print(
            f"plots={paths['plots']}: nothing to plot; figures need runs of one dataset's Table 3 at two ipc "
            "or more, or runs with schedule=until_overfit"
        )


if __name__ == "__main__":
    main()
