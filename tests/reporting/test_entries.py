"""Pooling of accuracies, by hand: seeds with different numbers of networks."""

import pytest

from gmlight.reporting.entries import Entry
from gmlight.reporting.paper import Cell


def test_networks_are_pooled_not_seeds() -> None:
    """Three networks of seed 0 with mean 82 and one of seed 1: mean of 4, not of the two means (86)."""
    entry = Entry("mnist", Cell("table3", "mnist", 1, "md"), "paper", {0: [80.0, 82.0, 84.0], 1: [90.0]})
    assert entry.mean == 84.0
    assert entry.std == pytest.approx((56 / 4) ** 0.5)  # deviations -4, -2, 0, 6
    assert entry.std_between_seeds == 4.0  # of 82 and 90, from 86
    assert (entry.n, entry.pooled) == ("3+1", [80.0, 82.0, 84.0, 90.0])
    one = Entry("mnist", entry.cell, "paper", {7: [80.0, 84.0]})
    assert (one.mean, one.std, one.std_between_seeds, one.n) == (82.0, 2.0, None, "1x2")
