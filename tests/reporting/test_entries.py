"""Pooling of accuracies, by hand: seeds with different numbers of networks."""

from pathlib import Path

import pytest

from gmlight.artifacts.run_folder import RunFolder
from gmlight.reporting.collect import RunCollection
from gmlight.reporting.entries import Entry, find_whole_set
from gmlight.reporting.measurements import CellAccuracies, Measurement
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


def test_a_result_adds_what_it_stores() -> None:
    """The first run of a seed counts; storage and command are of a run that is counted."""
    collection = RunCollection({})
    for accuracy, storage in ((90.0, 400), (50.0, 800)):
        cell = CellAccuracies(Cell("table3", "mnist", 1, "md"), [accuracy], storage)
        found = Measurement("mnist", "paper", 0, f"command {storage}", [cell])
        collection.add(RunFolder(Path(f"run{storage}")), found)
    (entry,) = collection.entries["table3"]
    assert (entry.pooled, entry.storage_bytes, entry.commands) == ([90.0], 400, {0: "command 400"})
    assert collection.notes == ["run800: another run of seed 0 is counted instead"]
    assert RunCollection({}).entries == {}


def test_the_whole_set_is_that_of_the_dataset_and_the_scale() -> None:
    def whole(dataset: str, scale: str) -> Entry:
        return Entry(dataset, Cell("table3", dataset, 1, "whole"), scale, {0: [99.0]})

    other = Entry("mnist", Cell("table3", "mnist", 1, "md"), "paper", {0: [90.0]})
    paper, shorter = whole("mnist", "paper"), whole("mnist", "paper with evaluation.epochs=9")
    entries = [whole("cifar10", "paper"), other, paper, shorter]
    assert find_whole_set(entries, "mnist", "paper") is paper
    assert find_whole_set([entries[0], other, shorter], "mnist", "paper") is shorter
    assert find_whole_set(entries, "mnist", "reduced") is None
    assert find_whole_set(entries, "mnist", "paper with seed=3") is None  # two of them fit
    assert find_whole_set(entries[:2], "mnist", "paper") is None
