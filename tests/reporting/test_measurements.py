"""Which accuracies of a result file count, and under which label."""

from typing import Any

from gmlight.reporting.measurements import measure_run, measure_set, scale_and_protocol
from gmlight.reporting.paper import Cell, read_paper_accuracies

PAPER = read_paper_accuracies()


def row(name: str, architecture: str, *values: float, storage: int = 4) -> dict[str, Any]:
    accuracy = {"values": list(values), "protocol": "plain"}
    return {"name": name, "architecture": architecture, "accuracy": accuracy, "storage_bytes": storage}


def result(**changes: Any) -> dict[str, Any]:
    content = {
        "command": "gmlight", "method": "md", "scale": "paper", "architecture": "convnet", "departures": [],
        "choices": {"architecture": "convnet", "matching": "multilevel", "distance": "cos_euclid",
                    "schedule": "fixed"},
        "config": {"dataset": {"name": "mnist"}, "ipc": 1, "seed": 7},
        "evaluations": [
            row("condensed", "convnet", 91.0, 92.0, storage=31360), row("condensed", "mlp", 71.0),
            row("random images", "convnet", 64.0, 65.0), row("whole train set", "convnet", 99.0),
        ],
    }  # fmt: skip
    return content | changes


def test_only_the_set_counts_and_each_architecture_in_its_cells() -> None:
    found = measure_run(result(), PAPER)
    by_cell = {cell.cell: (cell.accuracies, cell.storage_bytes) for cell in found.cells}
    on_convnet = [91.0, 92.0], 31360
    assert by_cell == {
        Cell("table3", "mnist", 1, "md"): on_convnet,
        Cell("table4", "mnist", 1, "convnet", "convnet"): on_convnet,
        Cell("table4", "mnist", 1, "convnet", "mlp"): ([71.0], 4),
    }
    assert (found.dataset, found.scale, found.source, found.zeta) == ("mnist", "paper", 7, None)


def test_departures_and_changed_networks_are_in_no_cell_of_the_paper() -> None:
    for changes in ({"departures": ["image_lr=1"]}, {"architecture": "convnet, width=64"}):
        tables = {cell.cell.table for cell in measure_run(result(**changes), PAPER).cells}
        assert tables == {"other"}


def test_accuracies_are_told_apart_by_the_test_images_alone() -> None:
    data = {"train": {"sha256": "before"}, "test": {"sha256": "the same"}}
    for measure in (measure_run, measure_set):
        content = result(data=data, set={"scale": "paper", "sha256": "abc", "method": "md"}, changed=[])
        assert measure(content, PAPER).test_images == "the same"
        assert measure(content | {"data": None}, PAPER).test_images is None


def test_two_converted_or_joined_sets_are_in_two_cells() -> None:
    for method in ("converted", "merged"):
        sets = [{"scale": "paper", "sha256": digest * 8, "method": method} for digest in ("ab", "cd")]
        names = [measure_set(result(set=each, changed=[]), PAPER).cells[0].cell.choice for each in sets]
        assert names == [f"{method} abababab", f"{method} cdcdcdcd"]


def test_labels_that_keep_accuracies_apart() -> None:
    assert scale_and_protocol(result()) == "paper"
    with_dsa = result()
    with_dsa["evaluations"][0]["accuracy"]["protocol"] = "dsa"
    assert scale_and_protocol(with_dsa) == "paper, protocol dsa"
    of_set = {"scale": "reduced", "sha256": "abc", "method": "mda"}
    again = result(set=of_set, changed=["lr=0.1"], scale="unused")
    assert scale_and_protocol(again) == "reduced, evaluated again with lr=0.1"
    found = measure_set(again, PAPER)
    assert found.source == "abc"
    assert [(cell.cell.choice, cell.cell.target, cell.accuracies) for cell in found.cells] == [
        ("mda", "convnet", [91.0, 92.0]), ("mda", "mlp", [71.0]),
    ]  # fmt: skip


def test_zetas_of_measured_schedules() -> None:
    content = result(zeta_used=[[4, 6], [1, 2]])
    content["choices"] |= {"schedule": "until_overfit"}
    content["config"] |= {"schedule": {"unit": "steps"}, "ipc": 10}
    zeta = measure_run(content, PAPER).zeta
    assert zeta is not None
    assert (zeta.dataset, zeta.ipc, zeta.seed, zeta.unit, zeta.values) == (
        "mnist", 10, 7, "steps", [[4, 6], [1, 2]],
    )  # fmt: skip
