"""Figures show the measured values."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from PIL import Image

from gmlight.reporting.collect import RunCollection
from gmlight.reporting.dynamics import Point
from gmlight.reporting.entries import Entry, MeasuredZeta
from gmlight.reporting.figures import (
    TimedAccuracy,
    plot_accuracies,
    plot_frontier,
    plot_trajectory,
    plot_zetas,
    save_figure,
    save_plots,
)
from gmlight.reporting.paper import Cell
from helpers.results import changed


def entry(choice: str, ipc: int, *values: float, scale: str = "paper") -> Entry:
    return Entry("mnist", Cell("table3", "mnist", ipc, choice), scale, {0: list(values)}, {0: "command"})


def test_zeta_is_plotted_beside_equation_12() -> None:
    figure = plot_zetas("title", [[10 * t, 10 * t + 4] for t in range(12)], "epochs")
    (axes,) = figure.axes
    mean, paper = axes.get_lines()
    assert list(mean.get_ydata()) == [10 * t + 2 for t in range(12)]
    assert list(paper.get_ydata()) == [50, 40, 30, 20, 10, 10, 10, 10, 10, 10, 5, 5]
    assert [text.get_text() for text in axes.get_legend().get_texts()][-1] == "Eq. 12"
    assert plot_zetas("one outer iteration", [[3], [2]], "epochs").axes[0].get_ylim()[0] == 0


def test_accuracies_by_ipc() -> None:
    series = {"random": [entry("random", 1, 60, 70), entry("random", 10, 95, 95)]}
    figure = plot_accuracies("title", series, entry("whole", 1, 99.0, scale="paper with evaluation.epochs=9"))
    (axes,) = figure.axes
    assert list(axes.get_lines()[0].get_ydata()) == [65, 95]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert sorted(labels) == ["random", "whole with evaluation.epochs=9 (99.0 %)"]


def test_trajectory_plot_shows_every_network() -> None:
    networks = [[Point(epoch, 1.0 + n, 2.0, 30.0, 0.5, 0.7) for epoch in (0, 1, 10)] for n in (0, 1)]
    figure = plot_trajectory("title", networks)
    norms, angle, losses = figure.axes
    assert list(norms.get_lines()[0].get_ydata()) == [1.5, 1.5, 1.5]
    assert list(norms.get_lines()[1].get_ydata()) == [2, 2, 2]
    assert list(angle.get_lines()[0].get_xdata()) == [0, 1, 10]
    assert list(losses.get_lines()[1].get_ydata()) == [0.7] * 3


def test_the_band_is_mean_and_std_but_never_below_zero() -> None:
    """Norms 1 and 9 (5 +- 4) at first; then 0.1, 0.1 and 9.7 of three, whose std is above their mean."""
    networks = [[Point(1, first, 2.0, 30.0, 0.5, 0.7), Point(2, then, 2.0, 30.0, 0.5, 0.7)]
                for first, then in ((1.0, 0.1), (9.0, 0.1), (5.0, 9.7))]  # fmt: skip
    norms, *_ = plot_trajectory("title", networks).axes
    (edge,) = norms.collections[0].get_paths()
    at_first = sorted(float(y) for x, y in edge.vertices if x == 1)
    then = sorted(float(y) for x, y in edge.vertices if x == 2)
    assert (at_first[0], at_first[-1]) == pytest.approx((5 - (32 / 3) ** 0.5, 5 + (32 / 3) ** 0.5))
    assert (then[0], then[-1]) == pytest.approx((0.1, 3.3 + 20.48**0.5))


def test_files(tmp_path: Path) -> None:
    figure = plot_zetas("title", [[3, 4], [2, 2]], "epochs")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        png = save_figure(figure, tmp_path / folder / "v1.5-zeta")
        assert png.name == "v1.5-zeta.png"
    Image.open(png).verify()
    svg = [(tmp_path / folder / "v1.5-zeta.svg").read_bytes() for folder in ("a", "b")]
    assert svg[0] == svg[1]
    assert b">Eq. 12<" in svg[0]
    (tmp_path / "a" / "v1.5-zeta.png").write_bytes(b"half")  # of a stopped command
    Image.open(save_figure(figure, tmp_path / "a" / "v1.5-zeta")).verify()
    assert sorted(path.suffix for path in (tmp_path / "a").iterdir()) == [".png", ".svg"]


def test_plots_of_runs(tmp_path: Path) -> None:
    entries = [
        entry("dc", 1, 90.0),
        entry("dc", 10, 97.0, scale="paper with iterations=9"),
        entry("random", 1, 60.0),
        entry("random", 10, 95.0),
        entry("dc", 1, 10.0, scale="smoke"),
    ]
    zetas = [MeasuredZeta("mnist", 10, "mdo", "paper", seed, "epochs", [[3, 4], [2, 2]]) for seed in (0, 1)]
    pictures = save_plots(RunCollection({}, {"table3": entries}, zetas), tmp_path / "plots")
    assert [path.name for path in pictures] == ["mnist-paper-accuracy.png", "mnist-ipc10-zeta-0.png"]
    assert len(list((tmp_path / "plots").iterdir())) == 4
    assert save_plots(RunCollection({}, {"table3": entries[:1]}), tmp_path / "none") == []
    assert not (tmp_path / "none").exists()


def test_error_bars_are_one_std_over_all_networks() -> None:
    """Of 4, 6, 8, 10: mean 7, population std the square root of 5."""
    figure = plot_accuracies("x", {"md": [entry("md", 10, 4.0, 6.0, 8.0, 10.0)]}, None)
    (bars,) = figure.axes[0].containers
    (line,) = bars[2][0].get_segments()  # type: ignore[attr-defined]
    assert line[:, 1].tolist() == pytest.approx([7 - 5**0.5, 7 + 5**0.5])


def timed(minutes: float | None, mean: float, *changes: tuple[str, Any]) -> dict[str, Any]:
    accuracy = {"values": [mean - 1, mean + 1], "mean": mean, "std": 1.0}
    seconds = {} if minutes is None else {"condensing": 60 * minutes}
    return changed(("evaluations.0.accuracy", accuracy), ("seconds", seconds), *changes)


def test_accuracy_against_minutes() -> None:
    figure = plot_frontier("title", {"best": [TimedAccuracy(3, 40, 1), TimedAccuracy(30, 44, 2)]})
    (axes,) = figure.axes
    assert list(axes.get_lines()[0].get_xdata()) == [3, 30]
    assert list(axes.get_lines()[0].get_ydata()) == [40, 44]
    (bars,) = axes.containers
    spans = [segment[:, 1].tolist() for segment in bars[2][0].get_segments()]  # type: ignore[attr-defined]
    assert spans == [[39, 41], [42, 46]]


def test_only_alike_runs_share_a_figure_of_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A protocol, an ipc, a dataset or a device of its own is another figure; one scale is none.

    Sets of one scale are seeds of one point.
    """
    few, gpu = ("scale", "paper with iterations=3"), ("environment", {"device": "a GPU"})
    results = [
        timed(30, 44), timed(34, 48), timed(3, 40, few), timed(5, 38, ("method", "dc")),
        timed(None, 30), timed(0, 20),
        timed(30, 54, ("protocol", "idc")), timed(30, 64, ("config.ipc", 10)),
        timed(3, 50, gpu), timed(1, 49, gpu, few),
        timed(2, 90, ("config.dataset.name", "digits")), timed(4, 90, ("config.dataset.name", "digits")),
    ]  # fmt: skip
    found: dict[str, Mapping[str, Sequence[TimedAccuracy]]] = {}

    def plot(title: str, series: Mapping[str, Sequence[TimedAccuracy]]) -> Figure:
        found[title] = series
        return plot_frontier(title, series)

    monkeypatch.setattr("gmlight.reporting.figures.plot_frontier", plot)
    runs = RunCollection({}, results={Path(str(i)): result for i, result in enumerate(results)})
    assert len(save_plots(runs, tmp_path / "plots")) == 2
    assert found == {
        "mnist, ipc 1, protocol plain, a GPU": {"m": [(1, 49, 1), (3, 50, 1)]},
        "mnist, ipc 1, protocol plain, unknown device": {
            "dc": [(5, 38, 1)], "m": [(3, 40, 1), (32, 46, 1)],
        },
    }  # fmt: skip
