"""Draws the figures of the paper's analysis, each as PNG and SVG."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from gmlight.artifacts.inert import figure_text, file_name
from gmlight.artifacts.record import RunRecord
from gmlight.condensation.schedules import look_up
from gmlight.reporting.collect import RunCollection
from gmlight.reporting.dynamics import Point
from gmlight.reporting.entries import Entry, MeasuredZeta, find_whole_set
from gmlight.reporting.paper import choice_order
from gmlight.runtime.atomic import atomic_write
from gmlight.runtime.paths import CONF_DIR

DPI = 160
# Distinct for colour-blind readers and in print (Okabe and Ito).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vP*"
EQUATION_12 = yaml.safe_load((CONF_DIR / "schedule" / "adaptive.yaml").read_text())["epochs"]


class TimedAccuracy(NamedTuple):
    """An accuracy and the time it took to condense the set.

    Args:
        minutes: of condensing.
        mean: over the evaluation networks, in percent.
        std: over them; of several sets, the mean of theirs.
    """

    minutes: float
    mean: float
    std: float


def save_plots(runs: RunCollection, folder: Path) -> list[Path]:
    """Saves every figure for which there are enough runs.

    Args:
        runs: of any datasets.
        folder: a new folder; not created if there is no figure.

    Returns:
        The PNG files; an SVG file lies beside each.
    """
    figures = {
        **_accuracy_figures(runs.entries.get("table3", [])),
        **_zeta_figures(runs.zetas),
        **_frontier_figures(runs.results.values()),
    }
    if figures:
        folder.mkdir()
    return [save_figure(figure, folder / file_name(name)) for name, figure in figures.items()]


def save_figure(figure: Figure, path: Path) -> Path:
    """Writes a figure as PNG and as SVG; a resumed command replaces what a stopped one has written.

    Args:
        figure: the figure; equal figures give equal files.
        path: without file name extension.

    Returns:
        The PNG file.
    """
    files = [path.with_name(f"{path.name}.{ending}") for ending in ("png", "svg")]
    # No date and no random names; text stays text.
    with matplotlib.rc_context({"svg.hashsalt": path.name, "svg.fonttype": "none"}):
        for file in files:
            date = {"Date": None} if file.suffix == ".svg" else {}
            with atomic_write(file) as partial:
                figure.savefig(partial, format=file.suffix[1:], dpi=DPI, metadata=date)
    return files[0]


def plot_accuracies(title: str, series: Mapping[str, Sequence[Entry]], whole: Entry | None) -> Figure:
    """Plots test accuracy against images per class; error bars are one std over all networks.

    Args:
        title: of the figure.
        series: entries of each line, sorted by ipc, by the line's name.
        whole: the whole training set, drawn as a horizontal line; None: no line.
    """
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    _error_bars(
        axes,
        {
            name: [(entry.cell.ipc, entry.mean, entry.std) for entry in entries]
            for name, entries in series.items()
        },
    )
    if whole is not None:
        name = "whole" + whole.scale.removeprefix(whole.base_scale)
        axes.axhline(
            whole.mean, color="0.35", linestyle="--", label=figure_text(f"{name} ({whole.mean:.1f} %)")
        )
    ticks = sorted({entry.cell.ipc for entries in series.values() for entry in entries})
    axes.set_xscale("log")
    axes.set_xticks(ticks, list(map(str, ticks)))
    axes.minorticks_off()
    axes.set(title=figure_text(title), xlabel="images per class", ylabel="test accuracy, %")
    _finish(axes)
    return figure


def plot_zetas(title: str, values: Sequence[Sequence[int]], unit: str) -> Figure:
    """Plots zeta, the network's training until it overfits after each image update, and Eq. 12 (Figure 3).

    Args:
        title: of the figure.
        values: zetas, [T-1][any number of outer iterations], in the unit.
        unit: `epochs` or `steps`; Eq. 12 is drawn for epochs only.
    """
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    steps = range(len(values))
    quartiles = [statistics.quantiles(zetas, n=4) if len(zetas) > 1 else [zetas[0]] * 3 for zetas in values]
    axes.fill_between(
        steps,
        [low for low, _, _ in quartiles],
        [high for _, _, high in quartiles],
        color=COLOURS[0],
        alpha=0.2,
        linewidth=0,
        label="middle half of the outer iterations",
    )
    means = [statistics.fmean(zetas) for zetas in values]
    axes.plot(steps, means, color=COLOURS[0], marker=MARKERS[0], label="until overfitting, mean")
    if unit == "epochs":
        equation = [look_up(EQUATION_12, t) for t in steps]
        axes.plot(steps, equation, color=COLOURS[1], drawstyle="steps-post", linestyle="--", label="Eq. 12")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    axes.set(title=figure_text(title), xlabel="image update t", ylabel=f"network {unit} after it")
    _finish(axes)
    return figure


def plot_frontier(title: str, series: Mapping[str, Sequence[TimedAccuracy]]) -> Figure:
    """Plots test accuracy against the minutes of condensing; error bars are one std over the networks.

    Args:
        title: of the figure.
        series: points of each line, by the line's name.
    """
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    _error_bars(axes, series)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(title=figure_text(title), xlabel="minutes of condensing", ylabel="test accuracy, %")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize="small")
    _grid(axes)
    return figure


def plot_trajectory(title: str, networks: Sequence[Sequence[Point]]) -> Figure:
    """Plots norms, angle and losses while networks train on a condensed set (Figure 2).

    Args:
        title: of the figure.
        networks: the points of each network, at the same epochs. Lines are means over the networks; bands
            are the means plus and minus one std.
    """
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    figure.suptitle(figure_text(title))
    norms, angle, losses = figure.subplots(1, 3)
    pairs = ("condensed set S", COLOURS[0], "-"), ("real images T", COLOURS[1], "--")
    for axes, names in ((norms, ("norm_synthetic", "norm_real")), (losses, ("loss_synthetic", "loss_real"))):
        for name, (label, colour, line) in zip(names, pairs, strict=True):
            _band(axes, networks, name, label, colour, line)
        axes.set_yscale("log")
        axes.legend(frameon=False)
    _band(angle, networks, "angle", "", COLOURS[2], "-")
    norms.set(title="norm of the gradient", ylabel="L2 norm")
    angle.set(title="angle between the two gradients", ylabel="degrees")
    losses.set(title="loss", ylabel="cross-entropy, nats")
    for axes in (norms, angle, losses):
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xlabel("epochs on S")
        axes.set_xlim(left=0)
        _grid(axes)
    return figure


def _accuracy_figures(entries: Iterable[Entry]) -> dict[str, Figure]:
    # A figure for each dataset and base scale that has runs at two or more ipc.
    by_scale: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        by_scale.setdefault((entry.dataset, entry.base_scale), []).append(entry)
    figures = {}
    for (dataset, scale), group in sorted(by_scale.items()):
        series: dict[str, list[Entry]] = {}
        for entry in sorted(
            group, key=lambda each: (choice_order(each.cell.choice), each.scale, each.cell.ipc)
        ):
            if entry.cell.choice != "whole":
                name = entry.cell.choice + entry.scale.removeprefix(scale)
                series.setdefault(name, []).append(entry)
        if len({entry.cell.ipc for line in series.values() for entry in line}) > 1:
            whole = find_whole_set(group, dataset, scale)
            title = f"{dataset}, scale {scale}"
            figures[f"{dataset}-{scale}-accuracy"] = plot_accuracies(title, series, whole)
    return figures


def _zeta_figures(zetas: Iterable[MeasuredZeta]) -> dict[str, Figure]:
    # A figure for each setting; seeds are pooled.
    by_setting: dict[tuple[str, int, str, str, str], list[MeasuredZeta]] = {}
    for run in zetas:
        by_setting.setdefault((run.dataset, run.ipc, run.method, run.scale, run.unit), []).append(run)
    figures = {}
    for number, ((dataset, ipc, method, scale, unit), runs) in enumerate(sorted(by_setting.items())):
        updates = min(len(run.values) for run in runs)
        values = [[zeta for run in runs for zeta in run.values[t]] for t in range(updates)]
        title = f"{dataset}, ipc {ipc}, {method}, scale {scale}"
        figures[f"{dataset}-ipc{ipc}-zeta-{number}"] = plot_zetas(title, values, unit)
    return figures


def _frontier_figures(results: Iterable[Mapping[str, Any]]) -> dict[str, Figure]:
    # A figure for each dataset, ipc, protocol and device on which one method ran at several scales.
    groups: dict[tuple[str, int, str, str], dict[str, dict[str, list[TimedAccuracy]]]] = {}
    for result in results:
        record, row = RunRecord.from_dict(result), result["evaluations"][0]
        seconds = result.get("seconds", {}).get("condensing")
        if not seconds:
            continue
        device = result.get("environment", {}).get("device", "unknown device")
        group = record.config["dataset"]["name"], record.config["ipc"], record.protocol, device
        point = TimedAccuracy(seconds / 60, row["accuracy"]["mean"], row["accuracy"]["std"])
        scales = groups.setdefault(group, {}).setdefault(record.method, {})
        scales.setdefault(record.scale, []).append(point)
    figures = {}
    for number, ((dataset, ipc, protocol, device), series) in enumerate(sorted(groups.items())):
        if max(map(len, series.values())) > 1:
            title = f"{dataset}, ipc {ipc}, protocol {protocol}, {device}"
            lines = {
                name: sorted(map(_mean_of_seeds, scales.values())) for name, scales in sorted(series.items())
            }
            figures[f"{dataset}-ipc{ipc}-frontier-{number}"] = plot_frontier(title, lines)
    return figures


def _mean_of_seeds(points: Sequence[TimedAccuracy]) -> TimedAccuracy:
    return TimedAccuracy(*map(statistics.fmean, zip(*points, strict=True)))


def _error_bars(axes: Axes, series: Mapping[str, Sequence[tuple[float, float, float]]]) -> None:
    # A line for each series of (x, mean, std).
    for i, (name, points) in enumerate(series.items()):
        x, mean, std = zip(*points, strict=True)
        axes.errorbar(
            x,
            mean,
            std,
            label=figure_text(name),
            color=COLOURS[i % len(COLOURS)],
            marker=MARKERS[(i + i // len(COLOURS)) % len(MARKERS)],  # other pairs from the eighth line on
            capsize=3,
        )


def _band(
    axes: Axes, networks: Sequence[Sequence[Point]], name: str, label: str, colour: str, line: str
) -> None:
    # Draws the mean plus and minus one std; the lower edge is the minimum where it would not be positive.
    epochs = [point.epoch for point in networks[0]]
    columns = [[getattr(points[i], name) for points in networks] for i in range(len(epochs))]
    means, stds = [statistics.fmean(column) for column in columns], [statistics.pstdev(c) for c in columns]
    axes.plot(epochs, means, color=colour, linestyle=line, label=label)
    low = [
        mean - std if mean > std else min(column)
        for column, mean, std in zip(columns, means, stds, strict=True)
    ]
    high = [mean + std for mean, std in zip(means, stds, strict=True)]
    axes.fill_between(epochs, low, high, color=colour, alpha=0.2, linewidth=0)


def _finish(axes: Axes) -> None:
    axes.legend(frameon=False, fontsize="small")
    _grid(axes)


def _grid(axes: Axes) -> None:
    axes.grid(True, color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
