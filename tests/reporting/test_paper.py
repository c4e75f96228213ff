"""The paper's figures, typed a second time in the paper's own layout; and the cells of a run."""

import itertools
from collections.abc import Iterator, Sequence

import pytest

from gmlight.reporting.paper import Cell, PaperAccuracy, cells_of_run, read_paper_accuracies

# Lines of the paper's tables, cell by cell; - where a table has no figure.
TABLE_1 = """
mnist 1          91.7±0.5 88.8±0.7 91.7±0.4 90.9±0.5
mnist 10         97.4±0.2 96.9±0.1 97.1±0.1 97.6±0.1
fashion_mnist 1  70.5±0.6 70.2±0.7 70.6±0.6 70.6±0.7
fashion_mnist 10 82.3±0.4 82.4±0.3 83.1±0.3 84.4±0.3
svhn 1           31.2±1.4 29.8±0.7 30.8±1.6 32.9±1.2
svhn 10          76.1±0.6 72.7±1.0 75.4±0.7 75.5±0.7
cifar10 1        28.3±0.5 29.7±0.7 28.6±0.7 29.7±0.7
cifar10 10       44.9±0.5 46.7±0.5 45.9±0.6 48.6±0.5
"""
TABLE_2 = "svhn 1 32.9±1.2 23.6±2.1 24.3±1.8 23.5±1.4 34.5±1.9 34.1±2.0 34.0±1.4"
TABLE_3 = """
mnist 1          64.9±3.5 89.2±1.6 91.7±0.5 90.9±0.5 91.9±0.4 -        -        99.6±0.0
mnist 10         95.1±0.9 93.7±0.3 97.4±0.2 97.6±0.1 97.9±0.1 97.9±0.1 97.9±0.2 -
mnist 50         97.9±0.2 94.8±0.2 98.8±0.2 98.0±0.1 98.6±0.1 98.6±0.1 98.5±0.1 -
fashion_mnist 1  51.4±3.8 67.0±1.9 70.5±0.6 70.6±0.7 71.4±0.6 -        -        93.5±0.1
fashion_mnist 10 73.8±0.7 71.1±0.7 82.3±0.4 84.4±0.3 85.4±0.3 84.6±0.3 84.2±0.3 -
fashion_mnist 50 82.5±0.7 71.9±0.8 83.6±0.4 87.8±0.2 87.4±0.2 87.9±0.2 87.9±0.2 -
svhn 1           14.6±1.6 20.9±1.3 31.2±1.4 32.9±1.2 34.5±1.9 -        -        95.4±0.1
svhn 10          35.1±4.1 50.5±3.3 76.1±0.6 75.5±0.7 75.9±0.7 76.2±0.7 75.9±0.7 -
svhn 50          70.9±0.9 72.6±0.8 82.3±0.3 82.2±0.2 82.9±0.2 83.8±0.3 83.2±0.3 -
cifar10 1        14.4±2.0 21.5±1.2 28.3±0.5 29.5±0.7 30.0±0.6 -        -        84.8±0.1
cifar10 10       26.0±1.2 31.6±0.7 44.9±0.5 48.6±0.5 49.5±0.5 49.9±0.6 50.2±0.6 -
cifar10 50       43.4±1.0 40.4±0.6 53.9±0.5 58.5±0.5 58.6±0.4 60.0±0.4 58.3±0.5 -
cifar100 1       4.2±0.3  8.4±0.3  12.8±0.3 12.4±0.3 12.7±0.4 -        -        56.2±0.3
cifar100 10      14.6±0.5 17.3±0.3 25.2±0.3 30.8±0.3 28.0±0.4 29.5±0.3 31.1±0.3 -
"""
TABLE_4 = """
mlp            67.3±1.1 71.2±1.6 70.5±8.5 45.1±12.4 46.9±4.2 83.2±2.1
convnet        72.7±1.6 91.9±0.4 84.1±2.2 84.1±2.4 84.3±1.5 90.4±0.4
lenet          62.8±1.6 87.2±0.7 81.8±1.9 80.8±3.6 75.1±2.5 88.1±1.1
alexnet        61.3±1.6 87.6±0.8 81.4±2.5 81.2±3.3 77.7±2.1 87.9±1.0
vgg11_bn       63.8±2.3 89.3±0.7 82.4±2.4 82.5±2.8 81.1±2.2 89.4±0.8
resnet18_bn_ap 62.2±1.8 82.3±2.3 80.4±3.2 80.1±2.5 75.7±3.2 87.4±1.0
"""
MATCHING = ("intra", "inter", "interleaved", "multilevel")
DISTANCES = ("cos", "euclid", "sse", "mse", "cos_euclid", "cos_sse", "cos_mse")
METHODS = ("random", "herding", "dc", "m", "md", "mdo", "mda", "whole")
TARGETS = ("mlp", "convnet", "lenet", "alexnet", "vgg11", "resnet18")
# Sections 4.5 and 4.4: single figures, without a std where the paper gives none.
OTHERS = {
    Cell("tiny_imagenet", "tiny_imagenet", 1, "dc"): PaperAccuracy(4.65, 0.20),
    Cell("tiny_imagenet", "tiny_imagenet", 1, "md"): PaperAccuracy(4.93, 0.23),
    Cell("overfitting", "cifar10", 10, "fixed"): PaperAccuracy(44.9, 0.5),
    Cell("overfitting", "cifar10", 10, "until_overfit"): PaperAccuracy(45.7, None),
    **{
        Cell("relative_accuracy", "cifar10", ipc, "mda"): PaperAccuracy(percent, None)
        for ipc, percent in ((50, 71), (100, 74), (200, 78), (500, 84), (1000, 89))
    },
}


def figures(text: str) -> Iterator[tuple[str, str, list[PaperAccuracy | None]]]:
    for line in text.strip().splitlines():
        first, second, *rest = line.split()
        yield (
            first,
            second,
            [None if word == "-" else PaperAccuracy(*map(float, word.split("±"))) for word in rest],
        )


def cells(table: str, text: str, choices: Sequence[str]) -> dict[Cell, PaperAccuracy]:
    return {
        Cell(table, dataset, int(ipc), choice): figure
        for dataset, ipc, row in figures(text)
        for choice, figure in zip(choices, row, strict=True)
        if figure is not None
    }


def table_4() -> dict[Cell, PaperAccuracy]:
    found = {}
    for line in TABLE_4.strip().splitlines():
        source, *words = line.split()
        for target, word in zip(TARGETS, words, strict=True):
            found[Cell("table4", "mnist", 1, source, target)] = PaperAccuracy(*map(float, word.split("±")))
    return found


def test_every_figure_of_the_paper() -> None:
    expected = cells("table1", TABLE_1, MATCHING) | cells("table2", TABLE_2, DISTANCES)
    expected |= cells("table3", TABLE_3, METHODS) | table_4() | OTHERS
    assert read_paper_accuracies() == expected


CHOICES = {"architecture": "convnet", "matching": "multilevel", "distance": "cos_euclid", "schedule": "fixed"}
CELLS = {  # (matching, distance, schedule) at ipc 10 -> the cells in which a run counts
    ("intra", "cos", "fixed"): {("table1", "intra"), ("table3", "dc"), ("overfitting", "fixed")},
    ("intra", "cos", "until_overfit"): {("overfitting", "until_overfit")},
    ("intra", "cos", "adaptive"): {("overfitting", "adaptive")},
    ("inter", "cos", "fixed"): {("table1", "inter")},
    ("interleaved", "cos", "fixed"): {("table1", "interleaved")},
    ("multilevel", "cos", "fixed"): {("table1", "multilevel"), ("table2", "cos"), ("table3", "m")},
    ("multilevel", "cos_euclid", "fixed"): {
        ("table2", "cos_euclid"), ("table3", "md"), ("table4", "convnet"),
    },
    ("multilevel", "cos_euclid", "until_overfit"): {("table3", "mdo")},
    ("multilevel", "cos_euclid", "adaptive"): {("table3", "mda")},
}  # fmt: skip


def test_every_choice_has_its_cells_and_no_others() -> None:
    """Over all matching rules, distances and schedules."""
    for matching, distance, schedule in itertools.product(
        MATCHING, DISTANCES, ("fixed", "until_overfit", "adaptive", "table")
    ):
        choices = CHOICES | {"matching": matching, "distance": distance, "schedule": schedule}
        expected = CELLS.get((matching, distance, schedule), set())
        if matching == "multilevel" and schedule == "fixed":
            expected = expected | {("table2", distance)}
        if matching == "intra" and distance == "cos":  # section 4.4 compares schedules
            expected = expected | {("overfitting", schedule)}
        found = cells_of_run(choices, "cifar10", 10, "label", "convnet")
        assert {(cell.table, cell.choice) for cell in found} == expected, choices
        assert {(cell.dataset, cell.ipc) for cell in found} <= {("cifar10", 10)}


@pytest.mark.parametrize("target", ["convnet", "mlp"])
@pytest.mark.parametrize("source", ["convnet", "mlp"])
def test_table_4_has_the_source_as_choice(source: str, target: str) -> None:
    found = cells_of_run(CHOICES | {"architecture": source}, "mnist", 1, "md", target)
    assert Cell("table4", "mnist", 1, source, target) in found
    assert (len(found) == 1) == ((source, target) != ("convnet", "convnet"))


@pytest.mark.parametrize(
    ("method", "ipc", "cell"), [("random", 10, 10), ("herding", 50, 50), ("whole", 50, 1)]
)
def test_selections_have_their_row_of_table_3(method: str, ipc: int, cell: int) -> None:
    assert cells_of_run(CHOICES, "mnist", ipc, method, "convnet") == [Cell("table3", "mnist", cell, method)]
    assert cells_of_run(CHOICES, "mnist", ipc, method, "mlp") == []
