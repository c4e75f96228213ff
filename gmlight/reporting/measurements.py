"""Reads result files, and finds the cells of the paper's tables for their accuracies."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gmlight.artifacts.record import RunRecord
from gmlight.artifacts.result_file import is_evaluated_again
from gmlight.reporting.entries import MeasuredZeta
from gmlight.reporting.paper import Cell, PaperAccuracy, cells_of_run, paper_dataset_name

OTHER = "other"  # the table of runs outside the paper's tables
SETS_WITHOUT_A_RUN = ("converted", "merged")  # their methods


@dataclass(frozen=True)
class CellAccuracies:
    """Accuracies for one cell.

    Args:
        cell: of a table.
        accuracies: in percent, one per network.
        storage_bytes: size of the set's stored values in bytes; None for older results.
    """

    cell: Cell
    accuracies: list[float]
    storage_bytes: int | None


@dataclass(frozen=True)
class Measurement:
    """The accuracies in one result file.

    Args:
        dataset: the dataset's name in the run.
        scale: label of the scale, with the protocol unless it is plain.
        source: seed of the run, or hash of a set that was evaluated again. Each cell counts a source once.
        command: the command of the run or evaluation.
        cells: accuracies by cell.
        zeta: measured zetas of a run with `schedule=until_overfit`; None for other runs.
        test_images: digest of the test images; None for older results.
    """

    dataset: str
    scale: str
    source: int | str
    command: str
    cells: list[CellAccuracies]
    zeta: MeasuredZeta | None = None
    test_images: str | None = None


def measure_run(result: Mapping[str, Any], paper: Mapping[Cell, PaperAccuracy]) -> Measurement:
    """Reads the result of a run.

    Args:
        result: content of the file.
        paper: accuracies of the paper's cells.

    Raises:
        KeyError: the content is not the result of a run.
    """
    record = RunRecord.from_dict(result)
    config = record.config
    dataset = paper_dataset_name(config["dataset"]["name"], {cell.dataset for cell in paper})
    in_paper = not record.departures and "," not in record.architecture
    found = []
    for row in _rows_of_the_set(result):
        target = row["architecture"].split(" ")[0]
        cells = (
            cells_of_run(record.choices, dataset, config["ipc"], record.method, target) if in_paper else []
        )
        cells = [cell for cell in cells if cell in paper or cell.table == "table3"]
        for cell in cells or [Cell(OTHER, dataset, config["ipc"], record.method, row["architecture"])]:
            found.append(_accuracies(cell, row))
    return Measurement(
        config["dataset"]["name"],
        scale_and_protocol(result),
        config["seed"],
        record.command,
        found,
        _zeta(record, result.get("zeta_used", [])),
        _test_images(result),
    )


def measure_set(result: Mapping[str, Any], paper: Mapping[Cell, PaperAccuracy]) -> Measurement:
    """Reads the result of a set that was evaluated again, for the table of other runs.

    Args:
        result: content of the file.
        paper: accuracies of the paper's cells.

    Raises:
        KeyError: the content is not such a result.
    """
    config, origin = result["config"], result["set"]
    dataset = paper_dataset_name(config["dataset"]["name"], {cell.dataset for cell in paper})
    return Measurement(
        config["dataset"]["name"],
        scale_and_protocol(result),
        origin["sha256"],
        result["command"],
        [
            _accuracies(Cell(OTHER, dataset, config["ipc"], _name_of_set(origin), row["architecture"]), row)
            for row in _rows_of_the_set(result)
        ],
        test_images=_test_images(result),
    )


def _name_of_set(origin: Mapping[str, Any]) -> str:
    # Converted and joined sets have no seeds: two of them are two sets, whose accuracies are never pooled.
    method = origin["method"]
    return f"{method} {origin['sha256'][:8]}" if method in SETS_WITHOUT_A_RUN else method


def scale_and_protocol(result: Mapping[str, Any]) -> str:
    """Labels the scale of a result, with the protocol unless it is plain.

    Accuracies with different labels are never pooled.
    """
    scale = f"{result['set']['scale']}, evaluated again" if is_evaluated_again(result) else result["scale"]
    if result.get("changed"):
        scale += f" with {', '.join(result['changed'])}"
    protocol = result["evaluations"][0]["accuracy"].get("protocol", "plain")
    return scale if protocol == "plain" else f"{scale}, protocol {protocol}"


def _rows_of_the_set(result: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    rows = result["evaluations"]
    return [row for row in rows if row["name"] == rows[0]["name"]]  # the others are baselines


def _accuracies(cell: Cell, row: Mapping[str, Any]) -> CellAccuracies:
    return CellAccuracies(cell, row["accuracy"]["values"], row.get("storage_bytes"))


def _test_images(result: Mapping[str, Any]) -> str | None:
    data = result.get("data")
    return None if data is None else data["test"]["sha256"]


def _zeta(record: RunRecord, used: list[list[int]]) -> MeasuredZeta | None:
    if record.choices.get("schedule") != "until_overfit" or not any(used):
        return None
    config = record.config
    return MeasuredZeta(
        config["dataset"]["name"],
        config["ipc"],
        record.method,
        record.scale,
        config["seed"],
        config["schedule"]["unit"],
        used,
    )
