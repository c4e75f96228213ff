"""The paper's analysis as pictures, each as PNG and SVG."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gmlight.condensation.schedules import look_up
from gmlight.reporting.collect import Entry, Gathered, Zetas, whole_beside
from gmlight.reporting.dynamics import Point
from gmlight.reporting.paper import rank
from gmlight.runtime.paths import CONF_DIR

DPI = 160
# Told apart by any eye, in print too (Okabe and Ito).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vP*"
EQUATION_12 = yaml.safe_load((CONF_DIR / "schedule" / "adaptive.yaml").read_text())["epochs"]


def save_plots(gathered: Gathered, folder: Path) -> list[Path]:
    """All that the runs give material for, in a new folder; without any, none is made.

    Returns:
        The PNG files; an SVG lies beside each.
    """
    figures = {**_accuracies(gathered.entries.get("table3", [])), **_zetas(gathered.zetas)}
    if figures:
        folder.mkdir()
    return [save(figure, folder / name) for name, figure in figures.items()]


def save(figure: Figure, path: Path) -> Path:
    """Writes `path` with .png and .svg added; nothing is written over. Returns the PNG's path."""
    files = [path.with_name(f"{path.name}.{ending}") for ending in ("png", "svg")]
    # The same figure is the same file: no date, no random names; letters stay letters.
    with matplotlib.rc_context({"svg.hashsalt": path.name, "svg.fonttype": "none"}):
        for file in files:
            date = {"Date": None} if file.suffix == ".svg" else {}
            with file.open("xb") as opened:
                figure.savefig(opened, format=file.suffix[1:], dpi=DPI, metadata=date)
    return files[0]


def plot_accuracies(title: str, series: Mapping[str, Sequence[Entry]], whole: Entry | None) -> Figure:
    """Test accuracy against images per class: a line a choice, the whole training set across.

    Args:
        series: by name, the entries in the order of their ipc; bars are one std of all networks.
    """
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for i, (name, entries) in enumerate(series.items()):
        axes.errorbar(
            [entry.cell.ipc for entry in entries],
            [entry.mean for entry in entries],
            [entry.std for entry in entries],
            label=name,
            color=COLOURS[i % len(COLOURS)],
            marker=MARKERS[i % len(MARKERS)],
            capsize=3,
        )
    if whole is not None:
        name = "whole" + whole.scale.removeprefix(whole.base_scale)
        axes.axhline(whole.mean, color="0.35", linestyle="--", label=f"{name} ({whole.mean:.1f} %)")
    ticks = sorted({entry.cell.ipc for entries in series.values() for entry in entries})
    axes.set_xscale("log")
    axes.set_xticks(ticks, list(map(str, ticks)))
    axes.minorticks_off()
    axes.set(title=title, xlabel="images per class", ylabel="test accuracy, %")
    _finish(axes)
    return figure


def plot_zetas(title: str, used: Sequence[Sequence[int]], unit: str) -> Figure:
    """Figure 3: how long the network trained after each image update until it overfitted, beside Eq. 12.

    Args:
        used: [T-1][any number of outer iterations].
    """
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    steps = range(len(used))
    quarters = [statistics.quantiles(of_t, n=4) if len(of_t) > 1 else [of_t[0]] * 3 for of_t in used]
    axes.fill_between(
        steps,
        [low for low, _, _ in quarters],
        [high for _, _, high in quarters],
        color=COLOURS[0],
        alpha=0.2,
        linewidth=0,
        label="middle half of the outer iterations",
    )
    means = [statistics.fmean(of_t) for of_t in used]
    axes.plot(steps, means, color=COLOURS[0], marker=MARKERS[0], label="until overfitting, mean")
    if unit == "epochs":  # which Eq. 12 counts
        equation = [look_up(EQUATION_12, t) for t in steps]
        axes.plot(steps, equation, color=COLOURS[1], drawstyle="steps-post", linestyle="--", label="Eq. 12")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    axes.set(title=title, xlabel="image update t", ylabel=f"network {unit} after it")
    _finish(axes)
    return figure


def plot_trajectory(title: str, networks: Sequence[Sequence[Point]]) -> Figure:
    """Figure 2's story: norms, angle and losses while networks train on a set; means, bands of one std.

    Args:
        networks: of each its points, at the same epochs.
    """
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    figure.suptitle(title)
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


def _accuracies(entries: Iterable[Entry]) -> dict[str, Figure]:
    # A figure for each dataset and base scale at which a choice was run at two ipc or more.
    entries = list(entries)
    figures = {}
    for dataset, scale in sorted({(entry.dataset, entry.base_scale) for entry in entries}):
        here = [entry for entry in entries if (entry.dataset, entry.base_scale) == (dataset, scale)]
        series: dict[str, list[Entry]] = {}
        for entry in sorted(here, key=lambda entry: (rank(entry.cell.choice), entry.scale, entry.cell.ipc)):
            if entry.cell.choice != "whole":
                name = entry.cell.choice + entry.scale.removeprefix(scale)
                series.setdefault(name, []).append(entry)
        if len({entry.cell.ipc for entries in series.values() for entry in entries}) > 1:
            title = f"{dataset}, scale {scale}"
            whole = whole_beside(here, dataset, scale)
            figures[f"{dataset}-{scale}-accuracy"] = plot_accuracies(title, series, whole)
    return figures


def _zetas(zetas: Iterable[Zetas]) -> dict[str, Figure]:
    # A figure for each kind of run; seeds together.
    kinds: dict[tuple[str, int, str, str, str], list[Zetas]] = {}
    for one in zetas:
        kinds.setdefault((one.dataset, one.ipc, one.method, one.scale, one.unit), []).append(one)
    figures = {}
    for number, ((dataset, ipc, method, scale, unit), runs) in enumerate(sorted(kinds.items())):
        updates = min(len(one.used) for one in runs)
        used = [[zeta for one in runs for zeta in one.used[t]] for t in range(updates)]
        title = f"{dataset}, ipc {ipc}, {method}, scale {scale}"
        figures[f"{dataset}-ipc{ipc}-zeta-{number}"] = plot_zetas(title, used, unit)
    return figures


def _band(
    axes: Axes, networks: Sequence[Sequence[Point]], name: str, label: str, colour: str, line: str
) -> None:
    epochs = [point.epoch for point in networks[0]]
    columns = [[getattr(points[i], name) for points in networks] for i in range(len(epochs))]
    means, stds = [statistics.fmean(of) for of in columns], [statistics.pstdev(of) for of in columns]
    axes.plot(epochs, means, color=colour, linestyle=line, label=label)
    low = [
        min(of) if mean - std <= 0 else mean - std for of, mean, std in zip(columns, means, stds, strict=True)
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
