"""Curves of a run's page: their points by hand."""

import pytest
from matplotlib.axes import Axes

from gmlight.reporting.curves import POINTS, _points, draw_curves


def test_points_are_means_over_the_updates_of_an_iteration() -> None:
    rows = [
        {"iteration": "1", "loss/real": "2.0", "zeta": "9"},
        {"iteration": "1", "loss/real": "4.0"},
        {"iteration": "1", "loss/real": ""},  # not measured at this update
        {"iteration": "3", "loss/real": "7.0"},
        {"iteration": "2", "loss/real": "5.0"},
    ]
    assert _points(rows, "loss/real") == [(1.0, 3.0), (2.0, 5.0), (3.0, 7.0)]
    assert _points(rows, "loss/synthetic") == []


def test_neighbouring_points_are_averaged() -> None:
    rows = [{"iteration": str(k), "zeta": str(k % 2)} for k in range(2 * POINTS)]
    points = _points(rows, "zeta")
    assert len(points) == POINTS
    assert points[:2] == [(0.5, 0.5), (2.5, 0.5)]


@pytest.mark.parametrize(("least", "scale"), [("0.5", "log"), ("0", "linear")])
def test_losses_have_a_logarithmic_axis_unless_one_is_zero(
    least: str, scale: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scales: list[str] = []
    monkeypatch.setattr(Axes, "set_yscale", lambda self, name: scales.append(name))
    rows = [{"iteration": str(k), "matching_loss/total": loss} for k, loss in ((1, "9"), (2, least))]
    draw_curves(rows, {})
    assert set(scales) == ({"log"} if scale == "log" else set())


def test_each_curve_shows_its_own_column() -> None:
    columns = {
        "matching_loss/total": (9, 8), "matching_loss/intra": (7, 6), "matching_loss/inter": (5, 4),
        "gradient_norm/real/overall": (3, 2), "gradient_norm/synthetic/overall": (30, 20),
        "gradient_angle/overall": (80, 70), "loss/real": (1.5, 1.25), "loss/synthetic": (0.5, 0.25),
    }  # fmt: skip
    rows = [
        {"iteration": str(i + 1)} | {name: str(values[i]) for name, values in columns.items()} for i in (0, 1)
    ]
    rows += [{"iteration": "2", "accuracy/mean": "51.5", "accuracy/std": "0.7"}]
    texts = {curve.title: curve.text for curve in draw_curves(rows, {"random images": 40.0})}
    assert texts == {
        "Test accuracy": "Test accuracy in percent over outer iterations: 51.5 after 2.",
        "Matching loss": "Matching loss over outer iterations. total: from 9 to 8; "
        "within classes: from 7 to 6; between classes: from 5 to 4.",
        "Norm of the class gradients": "Norm of the class gradients over outer iterations. "
        "real images T: from 3 to 2; condensed set S: from 30 to 20.",
        "Angle between the class gradients": "Angle between the class gradients over outer iterations. "
        "all layers: from 80 to 70.",
        "Loss of the network": "Loss of the network over outer iterations. real images T: from 1.5 to 1.25; "
        "condensed set S: from 0.5 to 0.25.",
    }


def test_bars_of_the_accuracy_are_its_std(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple] = []
    errorbar = Axes.errorbar

    def record(axes: Axes, *columns: tuple, **style: object) -> object:
        drawn.append(columns)
        return errorbar(axes, *columns, **style)

    monkeypatch.setattr(Axes, "errorbar", record)
    rows = [{"iteration": str(k), "accuracy/mean": f"5{k}", "accuracy/std": f"0.{k}"} for k in (2, 4)]
    draw_curves([*rows, {"iteration": "4", "zeta": "3"}], {})
    assert set(drawn) == {((2.0, 4.0), (52.0, 54.0), (0.2, 0.4))}  # on a light and on a dark page
