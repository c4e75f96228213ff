"""Collects runs into the paper's tables: `python -m gmlight.report runs='runs/table1/*'`."""

from pathlib import Path

from gmlight.reporting.collect import collect_runs
from gmlight.reporting.figures import save_plots
from gmlight.reporting.runs_page import write_runs_page
from gmlight.reporting.tables import as_csv, as_markdown, show
from gmlight.runtime.console import check_output_paths, new_console


def report(words: dict[str, str]) -> None:
    """Prints the tables, and writes tables and figures where they are asked for.

    Args:
        words: of the command line, by key: `runs`, and any of `html`, `markdown`, `csv` and `plots`, the
            paths of what is written.

    Raises:
        ConfigError: there is no run, or an output exists already.
    """
    paths = {kind: Path(path) for kind, path in words.items() if kind != "runs"}
    check_output_paths(paths)
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
