"""The paper's tables: which cell a run belongs to, and the figure that stands there."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TITLES = {
    "table1": "Table 1: what is matched",
    "table2": "Table 2: distances",
    "table3": "Table 3: ablation",
    "table4": "Table 4: source architecture and target",
    "tiny_imagenet": "Section 4.5: Tiny ImageNet",
    "overfitting": "Section 4.4: until overfitting",
    "relative_accuracy": "Section 4.5: accuracy relative to the whole set, in percent",
}
RELATIVE_FROM = 50  # images per class from which on section 4.5 compares with the whole set
_FIGURES = Path(__file__).with_name("paper.csv")
_METHODS = {  # (matching, distance, schedule) of Table 3's rows
    ("intra", "cos", "fixed"): "dc",
    ("multilevel", "cos", "fixed"): "m",
    ("multilevel", "cos_euclid", "fixed"): "md",
    ("multilevel", "cos_euclid", "until_overfit"): "mdo",
    ("multilevel", "cos_euclid", "adaptive"): "mda",
}
_CORESETS = ("random", "herding", "whole")
_ORDER = ("random", "herding", *_METHODS.values(), "whole")


@dataclass(frozen=True)
class Cell:
    """A place in one of the paper's tables; `target`: the evaluated architecture, where that is a column."""

    table: str
    dataset: str
    ipc: int
    choice: str
    target: str = ""


@dataclass(frozen=True)
class Figure:
    """What the paper says, in percent; std null where it says none."""

    mean: float
    std: float | None


def figures() -> dict[Cell, Figure]:
    """Every figure of the paper's tables, in their order."""
    with _FIGURES.open(newline="") as file:
        return {
            Cell(row["table"], row["dataset"], int(row["ipc"]), row["choice"], row["target"]): Figure(
                float(row["mean"]), float(row["std"]) if row["std"] else None
            )
            for row in csv.DictReader(file)
        }


def cells_of(choices: dict[str, str], dataset: str, ipc: int, method: str, target: str) -> list[Cell]:
    """The cells that a run without departures from the paper's protocol fills.

    Args:
        choices: option by group. dataset: the paper's name of it. method: the run's label.
        target: the evaluated architecture.
    """
    source = choices["architecture"]
    if method in _CORESETS:
        row = 1 if method == "whole" else ipc  # the whole set is the same at every ipc
        return [Cell("table3", dataset, row, method)] if source == target == "convnet" else []
    matching, distance, schedule = (choices[group] for group in ("matching", "distance", "schedule"))
    if ipc == 1:  # the network is never trained: no schedule plays a part
        schedule = "fixed"
    of_table_3 = _METHODS.get((matching, distance, schedule))
    found = []
    if source == target == "convnet":
        if distance == "cos" and schedule == "fixed":
            found.append(Cell("table1", dataset, ipc, matching))
        if matching == "multilevel" and schedule == "fixed":
            found.append(Cell("table2", dataset, ipc, distance))
        if matching == "intra" and distance == "cos":
            found.append(Cell("overfitting", dataset, ipc, schedule))
        if of_table_3 is not None:
            table = "tiny_imagenet" if dataset == "tiny_imagenet" else "table3"
            found.append(Cell(table, dataset, ipc, of_table_3))
    if of_table_3 == "md":
        found.append(Cell("table4", dataset, ipc, source, target))
    return found


def rank(choice: str) -> tuple[int, str]:
    """What sorts choices as Table 3 does, and others after them."""
    return (_ORDER.index(choice) if choice in _ORDER else len(_ORDER)), choice


def name_of(dataset: str, known: Any) -> str:
    """The paper's name of a dataset: `cifar10-jpeg` -> `cifar10`."""
    base = dataset.split("-")[0]
    return base if base in known else dataset
