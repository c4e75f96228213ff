"""Rank correlation of a proxy with the reference, with bootstrap intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

RESAMPLES = 1000
FEWEST = 3  # candidates; fewer have no meaningful rank correlation


@dataclass(frozen=True)
class Correlation:
    """How well a proxy ranks candidates.

    Args:
        spearman: Spearman's rho; None if it is not defined, as for equal accuracies.
        kendall: Kendall's tau-b; None likewise.
        spearman_interval: ends of the 95 % percentile bootstrap interval, over candidates.
        kendall_interval: the same of tau.
        n: number of candidates.
    """

    spearman: float | None
    kendall: float | None
    spearman_interval: tuple[float, float] | None
    kendall_interval: tuple[float, float] | None
    n: int


def correlate(proxy: Sequence[float], reference: Sequence[float], seed: int = 0) -> Correlation:
    """Computes the rank correlations of two lists of accuracies.

    Args:
        proxy: of each candidate.
        reference: of the same candidates.
        seed: of the bootstrap.
    """
    pairs, rng = np.array([proxy, reference], dtype=float), np.random.default_rng(seed)
    n = pairs.shape[1]
    if n < FEWEST:
        return Correlation(None, None, None, None, n)
    resampled = [_both(pairs[:, rng.integers(0, n, n)]) for _ in range(RESAMPLES)]
    rho, tau = _both(pairs)
    rhos, taus = zip(*resampled, strict=True)
    return Correlation(_defined(rho), _defined(tau), _interval(rhos), _interval(taus), n)


def best_of(reference: Sequence[float], number: int) -> list[int]:
    """Returns the places of the reference's best candidates, best first; of equal ones, earlier first."""
    return sorted(range(len(reference)), key=lambda i: -reference[i])[:number]


def _both(pairs: np.ndarray) -> tuple[float, float]:
    if (pairs == pairs[:, :1]).all(1).any():  # all accuracies of one side are equal
        return float("nan"), float("nan")
    return float(stats.spearmanr(*pairs).statistic), float(stats.kendalltau(*pairs).statistic)


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else value


def _interval(values: Sequence[float]) -> tuple[float, float] | None:
    known = [value for value in values if not np.isnan(value)]
    if not known:
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)
