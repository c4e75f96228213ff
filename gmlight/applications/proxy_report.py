"""Shows how well proxies rank candidates: table, scatter plots, page."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gmlight.applications.proxy import Measured, ProxyReport
from gmlight.applications.rank_correlation import Correlation
from gmlight.artifacts.inert import figure_text
from gmlight.reporting.figures import COLOURS, save_figure
from gmlight.reporting.use_page import UseTable
from gmlight.runtime.console import format_duration

SHOWN_FAILURES = 5
COLUMNS = 3  # scatter plots in a row


def ranking_table(
    title: str, reports: Sequence[ProxyReport], reference: dict[str, Any], names: Sequence[str]
) -> UseTable:
    """Lays out how each proxy ranks the candidates.

    Args:
        title: of the table.
        reports: of the proxies.
        reference: output of `describe_reference`.
        names: of the candidates.
    """
    rows = [
        [
            each.name,
            str(each.images),
            _coefficient(each.ranking.spearman),
            _interval(each.ranking),
            _coefficient(each.ranking.kendall),
            _accuracy(each.picked_accuracy),
            format_duration(each.seconds),
            "-" if each.time_ratio is None else f"{each.time_ratio:.2g}",
        ]
        for each in reports
    ]
    headings = ("training set", "images", "rho", "95 %", "tau", "picks", "time", "ratio")
    lines = [
        "rho, tau: Spearman's and Kendall's rank correlation with the reference, and a bootstrap interval "
        "of rho; picks: reference accuracy of the candidate that is best on the set, in percent; time: of "
        "training all candidates, and as a share of the reference's",
        f"reference: the whole set of {reference['images']} images, {format_duration(reference['seconds'])}; "
        f"best {_accuracy(reference['best'])}, mean {_accuracy(reference['mean'])}",
        *(
            f"{each.name} picks {names[each.picked]}"
            for each in reports
            if each.picked is not None
        ),
    ]  # fmt: skip
    return UseTable(title, headings, rows, lines)


def best_table(reports: Sequence[ProxyReport]) -> UseTable | None:
    """Lays out the rank correlation over the reference's best candidates; None if there are too few."""
    numbers = sorted({number for each in reports for number in each.best})
    if not numbers:
        return None
    rows = [[each.name, *(_with_interval(each.best.get(number)) for number in numbers)] for each in reports]
    headings = ("rho among the best", *map(str, numbers))
    return UseTable("Among the reference's best candidates", headings, rows)


def failure_lines(failures: dict[str, dict[str, str]]) -> list[str]:
    """Names the candidates that failed on each set, and counts them."""
    lines = []
    for name, reasons in failures.items():
        if not reasons:
            continue
        shown = [f"{candidate}: {reason}" for candidate, reason in list(reasons.items())[:SHOWN_FAILURES]]
        more = len(reasons) - len(shown)
        lines.append(f"failed on {name}: {len(reasons)}")
        lines += [f"  {line}" for line in shown] + [f"  and {more} more, in proxy.json"] * bool(more)
    return lines


def plot_proxies(title: str, measured: Iterable[Measured], reference: Measured, path: Path) -> Path:
    """Plots the accuracy of each candidate on each proxy against its accuracy on the reference.

    Args:
        title: of the figure.
        measured: accuracies on the proxies.
        reference: accuracies on the whole training set.
        path: without file name extension.

    Returns:
        The PNG file; an SVG file lies beside it.
    """
    proxies = list(measured)
    columns, rows = min(COLUMNS, len(proxies)), -(-len(proxies) // COLUMNS)
    figure = Figure(figsize=(3.4 * columns, 3.2 * rows + 0.4), layout="constrained")
    figure.suptitle(figure_text(title))
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True).flatten()
    for place, axes in enumerate(grid):
        if place < len(proxies):
            _scatter(axes, proxies[place], reference, COLOURS[place % len(COLOURS)])
        else:
            axes.remove()
    return save_figure(figure, path)


def _scatter(axes: Axes, proxy: Measured, reference: Measured, colour: str) -> None:
    pairs = [
        (theirs, ours)
        for ours, theirs in zip(proxy.accuracies, reference.accuracies, strict=True)
        if ours is not None and theirs is not None
    ]
    axes.scatter([x for x, _ in pairs], [y for _, y in pairs], s=14, color=colour, alpha=0.7, linewidths=0)
    axes.set(title=figure_text(proxy.name), xlabel="on the whole set, %", ylabel="on this set, %")
    axes.grid(True, color="0.9", linewidth=0.8)


def _coefficient(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.2f}"


def _interval(ranking: Correlation) -> str:
    ends = ranking.spearman_interval
    return "-" if ends is None else f"{ends[0]:.2f}..{ends[1]:.2f}"


def _with_interval(ranking: Correlation | None) -> str:
    return "-" if ranking is None else f"{_coefficient(ranking.spearman)} ({_interval(ranking)})"


def _accuracy(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
