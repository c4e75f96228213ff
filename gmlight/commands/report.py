"""Collects runs into the paper's tables: `python -m gmlight.report runs='runs/table1/*'`."""

from pathlib import Path

from gmlight.reporting.collect import collect_runs
from gmlight.reporting.figures import save_plots
from gmlight.reporting.runs_page import write_runs_page
from gmlight.reporting.tables import as_csv, as_markdown, print_tables
from gmlight.runtime.console import check_output_paths, new_console


def report(words: dict[str, str]) -> None:
    """Prints the tables, and writes the requested tables and figures.

    Args:
        words: of the command line, by key: `runs`; and output paths as `html`, `markdown`, `csv`, `plots`.

    Raises:
        ConfigError: there is no run, or an output exists already.
    """
    paths = {kind: Path(path) for kind, path in words.items() if kind != "runs"}
    check_output_paths(paths)
    runs, console = collect_runs(words["runs"].split(",")), new_console()
    print_tables(runs, console)
    if "html" in paths:
        write_runs_page(paths["html"], runs)
    if "markdown" in paths:
        paths["markdown"].write_text(as_markdown(runs))
    if "csv" in paths:
        paths["csv"].write_text(as_csv(runs))
    if "plots" in paths and not save_plots(runs, paths["plots"]):
        console.print(
            f"plots={paths['plots']}: nothing to plot; figures need Table 3 runs of one dataset at two "
            "or more ipc, runs with schedule=until_overfit, or one method with several durations"
        )
