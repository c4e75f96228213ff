"""Draws curves of a run's metrics for its page, as SVG in a light and a dark theme."""

import base64
import io
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gmlight.artifacts.inert import figure_text
from gmlight.reporting.figures import COLOURS

MetricsRow = Mapping[str, str]  # row of metrics.csv: name -> value; empty if missing
Points = list[tuple[float, float]]

POINTS = 300  # most points of a curve; neighbours are averaged
LIGHTER = ("#5cb3ee", "#ff9a52", "#3fd0a0", "#e6a3cb", "#ffc14d", "#9ad7f5", "#ffffff")  # the same hues
_THEMES = {  # theme: colours of text, grid and lines
    "light": ("#1f2328", "#e3e5e8", COLOURS),
    "dark": ("#e6e6e6", "#3a3f47", LIGHTER),
}
LOSS_TERMS = {"total": "total", "intra": "within classes", "inter": "between classes"}
SIDES = {"real": "real images T", "synthetic": "condensed set S"}


@dataclass(frozen=True)
class Curve:
    """A picture for a page.

    Args:
        title: heading of the picture.
        text: alternative text for readers who cannot see the picture.
        light: data URI of the picture for a light page.
        dark: data URI of the picture for a dark page.
    """

    title: str
    text: str
    light: str
    dark: str


def draw_curves(rows: Sequence[MetricsRow], baselines: Mapping[str, float]) -> list[Curve]:
    """Draws every curve for which the rows have values.

    Args:
        rows: of metrics.csv.
        baselines: accuracies in percent by name, drawn as horizontal lines in the accuracy curve.
    """
    losses = {name: _points(rows, f"matching_loss/{term}") for term, name in LOSS_TERMS.items()}
    norms = {name: _points(rows, f"gradient_norm/{side}/overall") for side, name in SIDES.items()}
    angles = {"all layers": _points(rows, "gradient_angle/overall")}
    network_losses = {name: _points(rows, f"loss/{side}") for side, name in SIDES.items()}
    drawn = [
        _accuracy_curve(rows, baselines),
        _curve("Matching loss", "loss", losses, log=True),
        _curve("Norm of the class gradients", "L2 norm, mean over classes", norms, log=True),
        _curve("Angle between the class gradients", "degrees, mean over classes", angles),
        _curve("Loss of the network", "cross-entropy, nats", network_losses),
    ]
    return [curve for curve in drawn if curve is not None]


def _points(rows: Sequence[MetricsRow], name: str) -> Points:
    # Points (outer iteration, mean over its updates); more than POINTS points are averaged in groups.
    by_iteration: dict[float, list[float]] = {}
    for row in rows:
        if row.get(name) and row.get("iteration"):
            by_iteration.setdefault(float(row["iteration"]), []).append(float(row[name]))
    points = [(iteration, statistics.fmean(values)) for iteration, values in sorted(by_iteration.items())]
    size = -(-len(points) // POINTS)
    groups = [points[i : i + size] for i in range(0, len(points), size or 1)]
    return [
        (statistics.fmean(x for x, _ in group), statistics.fmean(y for _, y in group)) for group in groups
    ]


def _curve(title: str, unit: str, series: Mapping[str, Points], *, log: bool = False) -> Curve | None:
    present = {name: points for name, points in series.items() if len(points) > 1}
    if not present:
        return None

    def draw(axes: Axes, colours: Sequence[str]) -> None:
        for (name, points), colour in zip(present.items(), colours, strict=False):
            axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.6, label=name)
        if log and all(y > 0 for points in present.values() for _, y in points):
            axes.set_yscale("log")
        if len(present) > 1:
            axes.legend(frameon=False, fontsize="small")

    text = "; ".join(
        f"{name}: from {points[0][1]:.3g} to {points[-1][1]:.3g}" for name, points in present.items()
    )
    return _render(title, unit, f"{title} over outer iterations. {text}.", draw)


def _accuracy_curve(rows: Sequence[MetricsRow], baselines: Mapping[str, float]) -> Curve | None:
    found = [
        (float(row["iteration"]), float(row["accuracy/mean"]), float(row["accuracy/std"]))
        for row in rows
        if row.get("accuracy/mean")
    ]
    if not found:
        return None
    iterations, means, stds = zip(*found, strict=True)

    def draw(axes: Axes, colours: Sequence[str]) -> None:
        axes.errorbar(
            iterations, means, stds, color=colours[0], marker="o", capsize=3, label="condensed set S"
        )
        for (name, mean), colour in zip(baselines.items(), colours[1:], strict=False):
            axes.axhline(mean, color=colour, linestyle="--", linewidth=1.2, label=figure_text(name))
        axes.legend(frameon=False, fontsize="small")

    text = "; ".join(f"{mean:.1f} after {iteration:.0f}" for iteration, mean, _ in found)
    return _render(
        "Test accuracy", "percent", f"Test accuracy in percent over outer iterations: {text}.", draw
    )


def _render(title: str, unit: str, text: str, draw: Callable[[Axes, Sequence[str]], None]) -> Curve:
    pictures = {}
    for theme, (ink, grid, colours) in _THEMES.items():
        text_keys = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
        style: Any = dict.fromkeys(text_keys, ink)
        style |= {"grid.color": grid, "svg.hashsalt": title, "svg.fonttype": "none", "text.usetex": False}
        with matplotlib.rc_context(style):
            figure = Figure(figsize=(4.5, 3.0), layout="constrained")
            axes = figure.subplots()
            draw(axes, colours)
            axes.set(xlabel="outer iteration", ylabel=unit)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(True, linewidth=0.7)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
            buffer = io.BytesIO()
            figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
        pictures[theme] = "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Curve(title, text, **pictures)
