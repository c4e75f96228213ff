"""gmlight.report: results in the layout of the paper's tables."""

import csv
import io
import json
import statistics
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gmlight.commands import report
from gmlight.errors import ConfigError
from gmlight.reporting.collect import collect_runs
from gmlight.reporting.paper import Cell, cells_of_run, paper_dataset_name, read_paper_accuracies
from gmlight.reporting.tables import as_csv, as_markdown, print_tables, table_rows

CHOICES = {"architecture": "convnet", "matching": "multilevel", "distance": "cos_euclid", "schedule": "fixed"}
MD = {("table3", "md"), ("table2", "cos_euclid"), ("table4", "convnet")}


def write(folder: Path, values: list[float], seed: int = 0, **options: Any) -> Path:
    """Writes the part of a run's result.json that a report reads."""
    folder.mkdir(parents=True)
    target, protocol = options.pop("target", "convnet"), options.pop("protocol", "plain")
    content = {
        "choices": CHOICES | options.pop("choices", {}),
        "config": {
            "dataset": {"name": options.pop("dataset", "mnist")}, "ipc": options.pop("ipc", 1), "seed": seed
        },
        "method": "md",
        "departures": [],
        "architecture": "convnet",
        "scale": "paper",
        "command": f"python -m gmlight.train seed={seed}",
        "evaluations": [
            {
                "name": name,
                "architecture": target,
                "accuracy": {"values": accuracies, "protocol": protocol},
            }
            for name, accuracies in (("condensed", values), ("random images", [1.0]))
        ],
    }  # fmt: skip
    (folder / "config.yaml").touch()
    (folder / "result.json").write_text(json.dumps(content | options))
    return folder


def test_paper_accuracies() -> None:
    known = read_paper_accuracies()
    assert len([cell for cell in known if cell.table == "table1"]) == 32
    assert len([cell for cell in known if cell.table == "table4"]) == 36
    for cell, mean, std in [
        (Cell("table1", "cifar10", 10, "inter"), 46.7, 0.5),
        (Cell("table2", "svhn", 1, "cos_mse"), 34.0, 1.4),
        (Cell("table3", "cifar100", 10, "mda"), 31.1, 0.3),
        (Cell("table3", "mnist", 1, "whole"), 99.6, 0.0),
        (Cell("table4", "mnist", 1, "vgg11_bn", "mlp"), 63.8, 2.3),
    ]:
        assert (known[cell].mean, known[cell].std) == (mean, std)
    assert Cell("table3", "mnist", 1, "mda") not in known  # the paper leaves it blank


@pytest.mark.parametrize(
    ("choices", "ipc", "method", "expected"),
    [
        ({}, 10, "md", MD),
        ({"schedule": "adaptive"}, 10, "mda", {("table3", "mda")}),
        ({"schedule": "adaptive"}, 1, "mda", MD),
        ({"matching": "intra", "distance": "cos"}, 10, "dc",
         {("table3", "dc"), ("table1", "intra"), ("overfitting", "fixed")}),
        ({"matching": "inter", "distance": "cos"}, 10, "m with matching=inter", {("table1", "inter")}),
        ({"distance": "sse"}, 1, "m with distance=sse", {("table2", "sse")}),
        ({"architecture": "mlp"}, 1, "md", {("table4", "mlp")}),
        ({}, 10, "herding", {("table3", "herding")}),
        ({"matching": "inter"}, 10, "md with matching=inter", set()),
    ],
)  # fmt: skip
def test_cells(choices: dict[str, str], ipc: int, method: str, expected: set[tuple[str, str]]) -> None:
    found = cells_of_run(CHOICES | choices, "svhn", ipc, method, "convnet")
    assert {(cell.table, cell.choice) for cell in found} == expected


def test_names_of_datasets() -> None:
    assert paper_dataset_name("cifar10-jpeg", {"cifar10", "mnist"}) == "cifar10"
    for name in ("my-images", "cifar10-lt", "mnist-m", "jpeg", "mnist-jpeg-m"):
        assert paper_dataset_name(name, {"cifar10", "mnist"}) == name


def test_seeds_are_pooled_and_compared(tmp_path: Path) -> None:
    write(tmp_path / "a", [91.0, 92.0], seed=0)
    write(tmp_path / "deeper" / "b", [93.0, 94.0], seed=1)
    write(tmp_path / "c", [50.0], scale="reduced")
    runs = collect_runs([str(tmp_path)])
    rows = {(row[1], row[3]): row for row in table_rows(runs, "table3", "mnist")}
    std = statistics.pstdev([91, 92, 93, 94])
    assert rows["md", "paper"][5:] == [f"92.50±{std:.2f}", "1.00", "2x2", "91.9±0.4", "+1.5"]
    assert rows["md", "reduced"][5:8] == ["50.00±0.00", "", "1x1"]
    (entry,) = [entry for entry in runs.entries["table3"] if entry.scale == "paper"]
    assert entry.command == "python -m gmlight.train -m seed=0,1"
    # A cell that was not run shows the paper's accuracy only.
    assert rows["dc", ""][3:] == ["", "", "", "", "", "91.7±0.5", ""]
    assert [choice for choice, _ in rows] == ["random", "herding", "dc", "m", "md", "md", "whole"]


@pytest.mark.parametrize(
    ("scale", "figure", "difference"),
    [
        ("paper", True, True),
        ("paper with evaluation.networks=5", True, True),
        ("reduced", True, False),
        ("reduced with evaluation.networks=5", True, False),
        ("paper with iterations=10", False, False),
        ("reduced with real_batch=8, evaluation.networks=5", False, False),
        ("smoke", False, False),
        ("demo", False, False),
        ("mine", False, False),
    ],
)
def test_the_papers_figure_stands_beside_its_protocol_only(
    tmp_path: Path, scale: str, figure: bool, difference: bool
) -> None:
    write(tmp_path / "run", [81.9], scale=scale)
    runs = collect_runs([str(tmp_path)])
    (row,) = [row for row in table_rows(runs, "table3", "mnist") if row[3] == scale]
    assert row[8:] == ["91.9±0.4" if figure else "", "-25.0" if difference else ""]
    (line,) = [line for line in csv.DictReader(io.StringIO(as_csv(runs))) if line["table"] == "table3"]
    assert line["paper_mean"] == ("91.9" if figure else "")


def test_accuracies_on_different_test_images_are_not_pooled(tmp_path: Path) -> None:
    def data(sha256: str) -> dict[str, Any]:
        return {"test": {"sha256": sha256, "counts": [2]}, "train": {"sha256": "x", "counts": [9]}}

    write(tmp_path / "a", [91.0], seed=0, data=data("a" * 64))
    write(tmp_path / "b", [92.0], seed=1, data=data("b" * 64))
    write(tmp_path / "c", [93.0], seed=2, data=data("a" * 64))
    write(tmp_path / "d", [94.0], seed=3, data=data("b" * 64))
    write(tmp_path / "e", [95.0], seed=4)  # of an older version
    found = {entry.scale: entry.pooled for entry in collect_runs([str(tmp_path)]).entries["table3"]}
    assert found == {"paper": [91.0, 93.0, 95.0], "paper, test images bbbbbbbb": [92.0, 94.0]}


def test_csv_counts_seeds_and_networks(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        write(tmp_path / str(seed), [90.0, 92.0], seed=seed)
    (line,) = [
        row
        for row in csv.DictReader(io.StringIO(as_csv(collect_runs([str(tmp_path)]))))
        if row["table"] == "table3"
    ]
    assert (line["seeds"], line["networks"]) == ("3", "6")


def test_all_different_commands_are_listed(tmp_path: Path) -> None:
    write(tmp_path / "a", [91.0], seed=0, command="python -m gmlight.train dataset=mnist seed=0")
    write(tmp_path / "b", [93.0], seed=1, command="python -m gmlight.train dataset=mnist log_every=1 seed=1")
    (entry,) = collect_runs([str(tmp_path)]).entries["table3"]
    assert entry.command.count("gmlight.train ") == 2
    assert "-m gmlight.train dataset=mnist seed=0; " in entry.command


def test_run_folders_do_not_make_commands_different(tmp_path: Path) -> None:
    for seed in (0, 1):
        command = f"python -m gmlight.train 'dataset.mean=[.5]' seed={seed} hydra.run.dir=here/{seed}"
        write(tmp_path / str(seed), [91.0], seed=seed, command=command)
    (entry,) = collect_runs([str(tmp_path)]).entries["table3"]
    assert entry.command == "python -m gmlight.train -m 'dataset.mean=[.5]' seed=0,1"


def test_runs_with_departures_are_in_no_table_of_the_paper(tmp_path: Path) -> None:
    write(tmp_path / "a", [91.0], method="md with image_lr=1", departures=["image_lr=1"])
    write(tmp_path / "b", [92.0], architecture="convnet, width=64", target="convnet, width=64")
    runs = collect_runs([str(tmp_path)])
    assert set(runs.entries) == {"other"}
    choices = {entry.cell.choice for entry in runs.entries["other"]}
    assert choices == {"md with image_lr=1", "md"}
    assert all(not row[8] for row in table_rows(runs, "other", "mnist"))


def test_protocols_are_never_mixed(tmp_path: Path) -> None:
    """Neither between runs, nor between the evaluations of one set."""
    write(tmp_path / "run", [91.0, 92.0])
    write(tmp_path / "other", [70.0], method="dsa", departures=["method=dsa"], protocol="dsa")
    again = tmp_path / "run" / "evaluations"
    of_set = {"method": "md", "scale": "paper", "sha256": "a"}
    write(again / "dsa", [80.0], set=of_set, protocol="dsa", changed=[])
    write(again / "seed", [93.0], set=of_set, seed=5, changed=["seed=5"])
    write(again / "other", [95.0], set=of_set | {"sha256": "b"}, changed=[])
    write(again / "same", [94.0, 94.5], set=of_set, changed=[])
    runs = collect_runs([str(tmp_path)])
    (of_paper,) = runs.entries["table3"]
    assert of_paper.pooled == [91.0, 92.0]
    found = {(entry.cell.choice, entry.scale): entry.pooled for entry in runs.entries["other"]}
    assert found == {
        ("dsa", "paper, protocol dsa"): [70.0],
        ("md", "paper, evaluated again, protocol dsa"): [80.0],
        ("md", "paper, evaluated again with seed=5"): [93.0],
        ("md", "paper, evaluated again"): [95.0, 94.0, 94.5],  # of two sets
    }
    assert set(runs.results) == {tmp_path / "run", tmp_path / "other"}


def test_a_failed_job_leaves_the_others_whole_and_is_named(tmp_path: Path) -> None:
    write(tmp_path / "good", [91.0])
    (tmp_path / "failed").mkdir()
    (tmp_path / "failed" / "config.yaml").touch()
    write(tmp_path / "same", [12.0])
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "result.json").write_text("{")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "result.json").write_text("{}")
    write(tmp_path / "none", [1.0], blank="not applicable")
    runs = collect_runs([f"{tmp_path}/*"])
    (entry,) = runs.entries["table3"]
    assert entry.pooled == [91.0]
    notes = "\n".join(runs.notes)
    assert f"{tmp_path / 'failed'} has no result.json" in notes
    assert f"{tmp_path / 'same'}: another run of seed 0" in notes
    assert f"{tmp_path / 'broken' / 'result.json'}: cannot be read" in notes
    assert f"{tmp_path / 'other' / 'result.json'}: cannot be read" in notes
    assert len(runs.notes) == 4


def test_accuracy_relative_to_the_whole_set(tmp_path: Path) -> None:
    cifar = {"dataset": "cifar10-jpeg", "ipc": 50, "choices": {"schedule": "adaptive"}, "method": "mda"}
    write(tmp_path / "mda", [56.0, 58.0], **cifar)
    write(tmp_path / "random", [40.0], **cifar | {"method": "random"})
    write(tmp_path / "small", [30.0], **cifar | {"ipc": 10})
    alone = collect_runs([str(tmp_path)])
    assert alone.entries["relative_accuracy"] == []
    assert "accuracies relative to the whole set need one run of method=whole" in "".join(alone.notes)

    scale = "paper with evaluation.networks=1"
    write(tmp_path / "whole", [80.0], **cifar | {"method": "whole", "scale": scale})
    runs = collect_runs([str(tmp_path)])
    rows = {(row[0], row[1]): row[5:] for row in table_rows(runs, "relative_accuracy", "cifar10-jpeg")}
    assert rows["50", "mda"] == ["71.25±1.25", "", "1x2", "71.0", ""]
    assert rows["50", "random"] == ["50.00±0.00", "", "1x1", "", ""]
    assert set(rows) == {("50", "mda"), ("50", "random")}
    assert f"relative to the whole set's 80.00±0.00 (1x1, {scale})" in "".join(runs.notes)
    # With two candidates, the reference is ambiguous.
    write(
        tmp_path / "other", [70.0], **cifar | {"method": "whole", "scale": "paper with evaluation.epochs=9"}
    )
    assert collect_runs([str(tmp_path)]).entries["relative_accuracy"] == []


def test_plots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    write(tmp_path / "runs" / "a", [91.0, 92.0])
    monkeypatch.chdir(tmp_path)
    report.report({"runs": "runs", "plots": "pictures"})
    assert "pictures: nothing to plot" in capsys.readouterr().out
    until = {"method": "mdo", "choices": {"schedule": "until_overfit"}, "zeta_used": [[4, 6]]}
    until["config"] = {"dataset": {"name": "mnist"}, "ipc": 10, "seed": 0, "schedule": {"unit": "epochs"}}
    write(tmp_path / "runs" / "b", [97.0], **until)
    report.report({"runs": "runs", "plots": "pictures"})
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names == [
        "mnist-ipc10-zeta-0.png", "mnist-ipc10-zeta-0.svg", "mnist-paper-accuracy.png",
        "mnist-paper-accuracy.svg",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="the file exists"):
        report.report({"runs": "runs", "plots": "pictures"})


def test_targets_of_table_4(tmp_path: Path) -> None:
    write(tmp_path / "a", [73.0], target="mlp")
    write(
        tmp_path / "b", [85.0], target="vgg11", choices={"architecture": "vgg11_bn"}, architecture="vgg11_bn"
    )
    rows = table_rows(collect_runs([str(tmp_path)]), "table4", "mnist")
    assert len(rows) == 12  # of the two sources that were run
    filled = {(row[1], row[2]): row[5] for row in rows if row[5]}
    assert filled == {("convnet", "mlp"): "73.00±0.00", ("vgg11_bn", "vgg11"): "85.00±0.00"}


def test_written_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    write(tmp_path / "runs" / "a", [91.0, 92.0])
    monkeypatch.chdir(tmp_path)
    words = {"runs": "runs", "markdown": "r.md", "csv": "r.csv"}
    report.report(words)
    printed = capsys.readouterr().out
    assert "91.50±0.50" in printed
    assert max(map(len, printed.splitlines())) <= 80
    markdown = (tmp_path / "r.md").read_text()
    assert "| 1 | md |  | paper |  | 91.50±0.50 |  | 1x2 | 91.9±0.4 | -1.0 |" in markdown
    assert "python -m gmlight.train seed=0" in markdown
    rows = {row["table"]: row for row in csv.DictReader(io.StringIO((tmp_path / "r.csv").read_text()))}
    assert float(rows["table3"]["mean"]) == 91.5
    assert (rows["table3"]["paper_mean"], rows["table3"]["command"]) == (
        "91.9",
        "python -m gmlight.train seed=0",
    )
    with pytest.raises(ConfigError, match="the file exists"):
        report.report(words)
    with pytest.raises(ConfigError, match="no run there"):
        collect_runs(["nowhere"])


def test_all_tables_are_printed(tmp_path: Path) -> None:
    write(tmp_path / "a", [91.0], method="md with image_lr=1", departures=["image_lr=1"])
    write(tmp_path / "b", [28.0], dataset="cifar10-jpeg", choices={"matching": "intra", "distance": "cos"})
    runs = collect_runs([str(tmp_path)])
    console = Console(width=80, record=True, file=io.StringIO())
    print_tables(runs, console)
    text = console.export_text()
    for title in ("Table 1: what is matched, cifar10-jpeg", "Table 3", "Other runs"):
        assert title in text
    assert as_markdown(runs).count("## ") == 3
    assert len(as_csv(runs).splitlines()) == 4
