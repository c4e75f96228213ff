"""The table of what was read, on the terminal and on the page."""

import io

import torch
from rich.console import Console

from gmlight.data.datamodule import CondensationData
from gmlight.data.source import DataSource
from gmlight.data.splits import NotedSplits
from gmlight.reporting.data_table import describe_data, print_data_table


def loaded(train: list[int], test: list[int], *names: str, notes: tuple[str, ...] = ()) -> CondensationData:
    def load(download: bool) -> NotedSplits:
        labels = [
            torch.arange(len(names)).repeat_interleave(torch.tensor(counts)) for counts in (train, test)
        ]
        images = [torch.arange(2).byte().repeat(len(each), 1).view(-1, 1, 1, 2) for each in labels]
        return (images[0], labels[0]), (images[1], labels[1]), notes

    return CondensationData(DataSource(load, names, (1, 1, 2))).load(torch.device("cpu"))


def test_classes_of_equal_numbers_share_a_row() -> None:
    described = describe_data(loaded([4, 9, 4], [1, 2, 1], "cat", "dog", "eel", notes=("2 files",)))
    assert described.rows == [("cat, eel", "4", "1"), ("dog", "9", "2")]
    assert described.notes == ("2 files",)


def test_many_different_classes_have_one_row_with_ranges() -> None:
    counts = list(range(3, 13))
    rows = describe_data(loaded(counts, [2] * 10, *(f"c{c}" for c in range(10)))).rows
    assert rows == [("c0, c1, c2, c3, c4, ... (10)", "3 to 12 each", "2 each")]


def test_names_are_short_and_harmless() -> None:
    rows = describe_data(loaded([4, 4], [1, 1], "a\nb\x1b[31m", "x" * 120)).rows
    assert rows == [(r"a\nb\x1b[31m, " + "x" * 63 + "...", "4", "1")]


def test_the_table_is_printed_without_markup() -> None:
    output = io.StringIO()
    console = Console(file=output, markup=False, highlight=False, width=80)
    print_data_table(
        loaded([4, 4], [1, 1], "[red]cat", "dog", notes=("passed over: 1 files that are no images: a",)),
        console,
    )
    lines = [line.split() for line in output.getvalue().splitlines()]
    assert ["class", "train", "images", "test", "images"] in lines
    assert ["[red]cat,", "dog", "4", "1"] in lines
    assert output.getvalue().endswith("passed over: 1 files that are no images: a\n")
