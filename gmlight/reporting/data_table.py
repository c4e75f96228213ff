"""The table of what was read: classes, images of each class and split, and notes about the rest."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from gmlight.data.datamodule import CondensationData
from gmlight.data.names import name_some, printable

HEADINGS = ("class", "train images", "test images")
MOST_ROWS = 8


@dataclass(frozen=True)
class DataTable:
    """What was read of a dataset.

    Args:
        rows: cells as text, in the order of `HEADINGS`; classes of equal numbers share a row.
        notes: lines about what was found, or passed over.
    """

    rows: list[tuple[str, str, str]]
    notes: tuple[str, ...]


def describe_data(data: CondensationData) -> DataTable:
    """Describes loaded data."""
    return describe_counts(data.info.classes, data.train.counts, data.test.counts, data.notes)


def describe_counts(
    classes: Sequence[str], train: Sequence[int], test: Sequence[int], notes: tuple[str, ...] = ()
) -> DataTable:
    """Describes data by its numbers of images.

    Args:
        classes: class names, by label.
        train: training images of each class.
        test: test images of each class.
        notes: lines about what was found, or passed over.
    """
    names, alike = list(map(printable, classes)), defaultdict(list)
    for name, train_count, test_count in zip(names, train, test, strict=True):
        alike[train_count, test_count].append(name)
    if len(alike) <= MOST_ROWS:
        rows = [(_names(group), str(one), str(other)) for (one, other), group in alike.items()]
    else:
        rows = [(_names(names), _range(train), _range(test))]
    return DataTable(rows, notes)


def print_data_table(data: CondensationData, console: Console) -> None:
    """Prints what was read."""
    described = describe_data(data)
    table = Table(box=box.SIMPLE_HEAD)
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading == "class" else "right")
    for row in described.rows:
        table.add_row(*row)
    console.print(table)
    for line in described.notes:
        console.print(line, soft_wrap=True)


def _names(names: Sequence[str]) -> str:
    shown = name_some(names)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


def _range(counts: Sequence[int]) -> str:
    least, most = min(counts), max(counts)
    return f"{least} each" if least == most else f"{least} to {most} each"
