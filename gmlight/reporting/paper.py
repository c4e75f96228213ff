"""The paper's tables: their cells, the accuracies that the paper reports, and the cells of a run."""

import csv
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from gmlight.artifacts.record import RunRecord, base_name, original_dataset, split_label

TITLES = {
    "table1": "Table 1: what is matched",
    "table2": "Table 2: distances",
    "table3": "Table 3: ablation",
    "table4": "Table 4: source architecture and target",
    "tiny_imagenet": "Section 4.5: Tiny ImageNet",
    "overfitting": "Section 4.4: until overfitting",
    "relative_accuracy": "Section 4.5: accuracy relative to the whole set, in percent",
}
RELATIVE_FROM = 50  # smallest ipc that section 4.5 compares with the whole set
_ACCURACIES = Path(__file__).with_name("paper.csv")
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
    """A cell of one of the paper's tables.

    Args:
        table: a key of `TITLES`.
        dataset: the paper's name of the dataset.
        ipc: images per class.
        choice: the compared method, matching rule, distance, schedule or source architecture.
        target: the evaluated architecture; empty in tables with a single one.
    """

    table: str
    dataset: str
    ipc: int
    choice: str
    target: str = ""


@dataclass(frozen=True)
class PaperAccuracy:
    """A test accuracy that the paper reports.

    Args:
        mean: in percent.
        std: in percentage points; None if the paper reports none.
    """

    mean: float
    std: float | None

    def __str__(self) -> str:
        return f"{self.mean}" if self.std is None else f"{self.mean}±{self.std}"


def read_paper_accuracies() -> dict[Cell, PaperAccuracy]:
    """Reads all accuracies of the paper's tables, in the paper's order."""
    with _ACCURACIES.open(newline="") as file:
        return {
            Cell(row["table"], row["dataset"], int(row["ipc"]), row["choice"], row["target"]): PaperAccuracy(
                float(row["mean"]), float(row["std"]) if row["std"] else None
            )
            for row in csv.DictReader(file)
        }


def cells_of_run(choices: Mapping[str, str], dataset: str, ipc: int, method: str, target: str) -> list[Cell]:
    """Lists the cells of a run that follows the paper's protocol.

    Args:
        choices: the chosen option of each config group.
        dataset: the paper's name of the dataset.
        ipc: images per class.
        method: the run's label.
        target: the evaluated architecture.
    """
    source = choices["architecture"]
    if method in _CORESETS:
        row = 1 if method == "whole" else ipc  # the whole set is the same at every ipc
        return [Cell("table3", dataset, row, method)] if source == target == "convnet" else []
    matching, distance, schedule = (choices[group] for group in ("matching", "distance", "schedule"))
    if ipc == 1:  # the network is never trained, so the schedule has no effect
        schedule = "fixed"
    table3_row = _METHODS.get((matching, distance, schedule))
    cells = []
    if source == target == "convnet":
        if distance == "cos" and schedule == "fixed":
            cells.append(Cell("table1", dataset, ipc, matching))
        if matching == "multilevel" and schedule == "fixed":
            cells.append(Cell("table2", dataset, ipc, distance))
        if matching == "intra" and distance == "cos":
            cells.append(Cell("overfitting", dataset, ipc, schedule))
        if table3_row is not None:
            table = "tiny_imagenet" if dataset == "tiny_imagenet" else "table3"
            cells.append(Cell(table, dataset, ipc, table3_row))
    if table3_row == "md":
        cells.append(Cell("table4", dataset, ipc, source, target))
    return cells


def paper_accuracies_for(record: RunRecord) -> list[tuple[Cell, PaperAccuracy]]:
    """Lists the paper's accuracies for a run on its architecture, then those of the baselines.

    Baselines are Random, Herding and the whole training set. The list is empty if the run departs from the
    paper's protocol, or is smaller than `reduced`.
    """
    reported, ipc = read_paper_accuracies(), record.config["ipc"]
    if record.departures or "," in record.architecture or not is_comparable(record.scale):
        return []
    dataset = paper_dataset_name(record.config["dataset"]["name"], {cell.dataset for cell in reported})
    target = record.architecture.split(" ")[0]
    cells = cells_of_run(record.choices, dataset, ipc, record.method, target)
    if cells and target == "convnet":
        baselines = ((ipc, "random"), (ipc, "herding"), (1, "whole"))
        cells += [Cell("table3", dataset, row, choice) for row, choice in baselines]
    return [(cell, reported[cell]) for cell in dict.fromkeys(cells) if cell in reported]


def is_comparable(scale: str) -> bool:
    """Whether the paper's accuracies may stand beside accuracies at a scale: `paper`, or `reduced`.

    The number of evaluation networks may differ.

    Args:
        scale: label of a scale.
    """
    name, changes = split_label(scale)
    return name in ("paper", "reduced") and all(word.startswith("evaluation.networks=") for word in changes)


def is_full_scale(scale: str) -> bool:
    """Whether accuracies at a scale may be compared with the paper's by number: it is the paper's scale."""
    return is_comparable(scale) and base_name(scale) == "paper"


def choice_order(choice: str) -> tuple[int, str]:
    """Returns a sort key: choices in Table 3's order, then other choices by name."""
    return (_ORDER.index(choice) if choice in _ORDER else len(_ORDER)), choice


def paper_dataset_name(dataset: str, paper_datasets: Collection[str]) -> str:
    """Returns the paper's name of a dataset, `cifar10` for `cifar10-jpeg`; other datasets keep their name."""
    original = original_dataset(dataset)
    return original if original in paper_datasets else dataset
