"""Shows what continual learning gave: a table of the steps, and curves of accuracy."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gmlight.artifacts.inert import figure_text
from gmlight.reporting.figures import COLOURS, MARKERS, save_figure
from gmlight.reporting.use_page import UseTable
from gmlight.runtime.console import format_bytes

Rows = Mapping[str, Sequence[Mapping[str, Any]]]  # scores of each order, by memory


def continual_table(title: str, memories: Rows) -> UseTable:
    """Lays out the accuracies after each step.

    Args:
        title: of the table.
        memories: scores of each order, by memory.
    """
    steps = len(next(iter(memories.values()))[0]["curve"])
    rows = [
        [
            memory,
            *(f"{statistics.fmean(each['curve'][step] for each in orders):.1f}" for step in range(steps)),
            _spread([each["average"] for each in orders]),
            _spread([each["forgetting"] for each in orders]),
            format_bytes(orders[0]["storage_bytes"]),
        ]
        for memory, orders in memories.items()
    ]
    headings = ("memory", *(str(step + 1) for step in range(steps)), "average", "forgets", "storage")
    line = (
        "1, 2, ...: test accuracy in percent on everything seen after each step, mean over the orders; "
        "average: over the steps, ± population std over the orders; forgets: points of accuracy lost on "
        "earlier steps"
    )
    return UseTable(title, headings, rows, [line])


def plot_curves(title: str, memories: Rows, path: Path) -> Path:
    """Plots accuracy on everything seen against the step; error bars are one std over the orders.

    Args:
        title: of the figure.
        memories: scores of each order, by memory.
        path: without file name extension.

    Returns:
        The PNG file; an SVG file lies beside it.
    """
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for place, (memory, orders) in enumerate(memories.items()):
        columns = list(zip(*(each["curve"] for each in orders), strict=True))
        axes.errorbar(
            range(1, len(columns) + 1),
            [statistics.fmean(column) for column in columns],
            [statistics.pstdev(column) for column in columns],
            label=figure_text(memory),
            color=COLOURS[place % len(COLOURS)],
            marker=MARKERS[place % len(MARKERS)],
            capsize=3,
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(title=figure_text(title), xlabel="step", ylabel="test accuracy on everything seen, %")
    axes.title.set_wrap(True)
    axes.legend(frameon=False)
    axes.grid(True, color="0.9", linewidth=0.8)
    return save_figure(figure, path)


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.1f}±{statistics.pstdev(values):.1f}"
