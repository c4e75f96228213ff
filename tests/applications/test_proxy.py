"""Comparison of a proxy with the reference, on accuracies written by hand."""

import pytest
from matplotlib.figure import Figure

from gmlight.applications import proxy_report
from gmlight.applications.proxy import Measured, compare, describe_reference
from gmlight.applications.proxy_report import best_table, failure_lines, ranking_table
from gmlight.artifacts.work_log import Outcome


def measured(name: str, accuracies: list[float | None], images: int = 10, seconds: float = 1.0) -> Measured:
    outcomes = [
        [Outcome(accuracy, seconds, "" if accuracy is not None else "its weights are not finite")]
        for accuracy in accuracies
    ]
    return Measured(name, images, 4 * images, outcomes)


REFERENCE = measured("whole set", [70.0, 80.0, 90.0, 60.0, 75.0, 50.0], images=1000, seconds=50.0)


def test_the_best_candidate_on_the_proxy_is_judged_by_the_reference() -> None:
    report = compare(measured("md", [30.0, 55.0, 50.0, 20.0, 40.0, 10.0]), REFERENCE)
    assert (report.picked, report.picked_accuracy) == (1, 80.0)
    assert report.seconds == 6.0
    assert report.time_ratio == pytest.approx(6 / 300)
    assert report.storage_ratio == pytest.approx(0.01)
    assert report.ranking.n == 6
    assert report.ranking.spearman == pytest.approx(1 - 6 * 2 / (6 * 35))
    assert list(report.best) == [5]
    assert report.best[5].spearman == pytest.approx(1 - 6 * 2 / (5 * 24))
    assert describe_reference(REFERENCE)["best"] == 90.0
    assert describe_reference(REFERENCE)["mean"] == pytest.approx(425 / 6)


def test_storage_is_compared_in_bytes_not_in_images() -> None:
    """A set may store less than an image for each image, or soft labels besides."""
    proxy = Measured("md", 40, 300, [[Outcome(50.0, 1.0)]] * 2)
    reference = Measured("whole set", 1000, 6000, [[Outcome(60.0, 1.0)]] * 2)
    assert compare(proxy, reference).storage_ratio == pytest.approx(0.05)


def test_failed_candidates_are_counted_and_left_out_of_the_ranking() -> None:
    proxy = measured("md", [30.0, None, 50.0, 20.0, 40.0, 10.0])
    report = compare(proxy, REFERENCE)
    assert (report.failed, report.ranking.n, report.picked) == (1, 5, 2)
    assert report.ranking.spearman == pytest.approx(1)
    assert proxy.failures == {1: "its weights are not finite"}


def test_a_candidate_with_one_failed_network_has_no_accuracy() -> None:
    networks = [Outcome(50.0, 1.0), Outcome(None, 1.0, "killed")]
    both = Measured("md", 1, 4, [networks, [Outcome(40.0, 1.0), Outcome(60.0, 1.0)]])
    assert both.accuracies == [None, 50.0]
    assert both.seconds == 4.0


def test_if_the_pick_failed_on_the_reference_its_accuracy_is_unknown() -> None:
    reference = measured("whole set", [None, 80.0, 70.0, 60.0], images=100)
    report = compare(measured("md", [90.0, 30.0, 20.0, 10.0]), reference)
    assert (report.picked, report.picked_accuracy) == (0, None)
    table = ranking_table("title", [report], describe_reference(reference), ["a", "b", "c", "d"])
    assert table.rows[0] == ["md", "10", "1.00", "1.00..1.00", "1.00", "-", "0:00:04", "1"]
    assert "md picks a" in table.lines
    assert best_table([report]) is None


def test_if_everything_failed_nothing_is_picked() -> None:
    report = compare(measured("md", [None, None]), measured("whole set", [1.0, 2.0]))
    assert (report.picked, report.failed, report.ranking.spearman) == (None, 2, None)


def test_a_set_on_which_all_candidates_are_equal_picks_none() -> None:
    report = compare(measured("md", [10.0, 10.0, 10.0]), measured("whole set", [70.0, 80.0, 90.0]))
    assert (report.picked, report.picked_accuracy, report.ranking.spearman) == (None, None, None)


def test_failures_are_named_and_counted() -> None:
    reasons = {f"width={i}": "killed" for i in range(7)}
    lines = failure_lines({"md": reasons, "herding": {}})
    assert lines[0] == "failed on md: 7"
    assert lines[1] == "  width=0: killed"
    assert lines[-1] == "  and 2 more, in proxy.json"
    assert len(lines) == 7


def test_the_plot_has_the_reference_below_and_the_proxy_at_the_side() -> None:
    axes = Figure().subplots()
    proxy_report._scatter(
        axes, measured("md", [30.0, None, 50.0]), measured("whole set", [70.0, 80.0, 90.0]), "C0"
    )
    [points] = axes.collections
    assert points.get_offsets().tolist() == [[70.0, 30.0], [90.0, 50.0]]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("on the whole set, %", "on this set, %")
