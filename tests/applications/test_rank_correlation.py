"""Rank correlations against their definitions."""

import itertools

import numpy as np
import pytest

from gmlight.applications import rank_correlation
from gmlight.applications.rank_correlation import best_of, correlate

OURS, THEIRS = [3.0, 1.0, 4.0, 1.5, 5.0, 9.0, 2.0, 6.0], [2.0, 1.0, 3.0, 4.0, 6.0, 9.0, 0.5, 5.0]


def ranks(values: list[float]) -> list[int]:
    return [sorted(values).index(value) for value in values]


def test_coefficients_without_ties_follow_their_definitions() -> None:
    found, n = correlate(OURS, THEIRS), len(OURS)
    squares = sum((a - b) ** 2 for a, b in zip(ranks(OURS), ranks(THEIRS), strict=True))
    assert found.spearman == pytest.approx(1 - 6 * squares / (n * (n * n - 1)))
    pairs = list(itertools.combinations(range(n), 2))
    same = sum((OURS[i] - OURS[j]) * (THEIRS[i] - THEIRS[j]) > 0 for i, j in pairs)
    assert found.kendall == pytest.approx((2 * same - len(pairs)) / len(pairs))
    assert found.n == n


def test_equal_and_opposite_orders() -> None:
    assert correlate(OURS, [2 * value for value in OURS]).spearman == pytest.approx(1)
    assert correlate(OURS, [-value for value in OURS]).kendall == pytest.approx(-1)


def test_the_interval_holds_the_coefficient_and_narrows_with_more_candidates() -> None:
    few, many = correlate(OURS, THEIRS), correlate(OURS * 20, THEIRS * 20)
    for found in (few, many):
        assert found.spearman_interval is not None
        assert found.kendall_interval is not None
        assert found.spearman_interval[0] < found.spearman < found.spearman_interval[1]  # type: ignore[operator]
        assert found.kendall_interval[0] < found.kendall < found.kendall_interval[1]  # type: ignore[operator]

    def width(found: object) -> float:
        low, high = found.spearman_interval  # type: ignore[attr-defined]
        return high - low

    assert width(many) < width(few) / 2
    assert correlate(OURS, THEIRS, seed=0) == few
    assert correlate(OURS, THEIRS, seed=1) != few


def test_nineteen_of_twenty_resamples_lie_in_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    both = rank_correlation._both

    def noting(pairs: np.ndarray) -> tuple[float, float]:
        seen.append(both(pairs)[0])
        return both(pairs)

    monkeypatch.setattr(rank_correlation, "_both", noting)
    found = correlate(OURS * 5, THEIRS * 5)
    assert found.spearman_interval is not None
    resampled = [value for value in seen if value != found.spearman]
    low, high = found.spearman_interval
    below, above = (sum(value < low for value in resampled), sum(value > high for value in resampled))
    assert below / len(resampled) == pytest.approx(0.025, abs=0.003)
    assert above / len(resampled) == pytest.approx(0.025, abs=0.003)


def test_nothing_is_claimed_of_equal_or_of_two_candidates() -> None:
    equal = correlate([1.0] * 5, THEIRS[:5])
    assert equal.spearman is equal.kendall is equal.spearman_interval is None
    assert correlate([1.0, 2.0], [1.0, 2.0]).spearman is None


def test_best_candidates_of_the_reference() -> None:
    assert best_of([10.0, 30.0, 20.0, 30.0], 3) == [1, 3, 2]
