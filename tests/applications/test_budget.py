"""What a training costs on a condensed set and on the whole set, and the limit on its memory."""

import json
from pathlib import Path

import pytest

from gmlight.applications.budget import Cost, budget_table, parse_bytes
from gmlight.errors import ConfigError
from helpers.runs import Run, refusal, train_tiny

WORDS = ["budget=true", "evaluation.networks=1", "evaluation.epochs=3", "trainer=cpu"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("budget") / "made"
    train_tiny(folder, "method=dc", "evaluation.baselines.random=0")
    return folder


def costs(folder: Path) -> list[dict]:
    return json.loads((folder / "result.json").read_text())["budget"]


def test_both_sides_are_measured(typed: Run, made: Path, tmp_path: Path) -> None:
    done = typed("evaluate", f"run={made}", *WORDS, "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    ours, whole = costs(tmp_path / "out")
    assert (ours["images"], ours["steps"]) == (20, 3)
    assert (whole["images"], whole["steps"]) == (1437, whole["steps"])
    values = json.loads((tmp_path / "out" / "result.json").read_text())["evaluations"][0]["accuracy"][
        "values"
    ]
    assert ours["accuracy"] == pytest.approx(values[0])  # the network of the evaluation
    assert whole["reached"]
    assert whole["accuracy"] >= ours["accuracy"]
    assert ours["operations"] == pytest.approx(3 * 3 * 20 * whole["operations"] / (3 * 256 * whole["steps"]))
    assert whole["memory_bytes"] > ours["memory_bytes"] > 0
    assert "whole set" in done.stdout


@pytest.mark.slow
def test_an_accuracy_that_is_not_reached_is_said(typed: Run, made: Path, tmp_path: Path) -> None:
    words = ["evaluation.epochs=300", "evaluation.lr=0.002", "budget_epochs=1", "evaluation.batch_size=1024"]
    done = typed("evaluate", f"run={made}", *WORDS, *words, "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    assert not costs(tmp_path / "out")[1]["reached"]
    assert "the accuracy was not reached; raise budget_epochs=" in " ".join(done.stdout.split())


def test_the_limit_is_enforced_on_each_side(typed: Run, made: Path, tmp_path: Path) -> None:
    words = ["evaluate", f"run={made}", *WORDS, "architecture.width=128", "evaluation.batch_size=1024"]
    small = refusal(typed(*words, "memory_limit=1MiB", "hydra.run.dir=small"))
    assert "training on the condensed set needs more than memory_limit=1 MiB" in small
    assert typed(*words, "memory_limit=80MiB", "hydra.run.dir=middle").returncode == 0
    ours, whole = costs(tmp_path / "middle")
    assert not ours["failure"]
    assert whole["failure"] == "needs more than memory_limit=80 MiB"
    assert not whole["reached"]
    assert typed(*words, "memory_limit=2GiB", "hydra.run.dir=large").returncode == 0
    assert all(not cost["failure"] for cost in costs(tmp_path / "large"))


@pytest.mark.parametrize("text", ["x", "0", "-1MiB", "1.5GiB", "true", "256 MiB"])
def test_wrong_limits_are_refused(typed: Run, made: Path, text: str) -> None:
    line = refusal(typed("evaluate", f"run={made}", *WORDS, f"memory_limit={text}"))
    assert "must be a size such as 256MiB" in line


def test_a_limit_without_a_budget_is_refused(typed: Run, made: Path) -> None:
    assert "add that" in refusal(typed("evaluate", f"run={made}", "memory_limit=1GiB"))


def test_sizes() -> None:
    assert [parse_bytes(text, "k") for text in ("7", "2KiB", "3MiB", "1GiB")] == [7, 2048, 3 * 2**20, 2**30]
    with pytest.raises(ConfigError, match="k=1TB: must be a size"):
        parse_bytes("1TB", "k")


def test_the_table_names_what_failed() -> None:
    failed = Cost("whole set", 9, 0, 0.0, None, 0, 0.0, reached=False, failure="needs more")
    table = budget_table([Cost("condensed", 1, 2, 90.0, 50.0, 2**20, 1e9), failed])
    assert table.rows[0] == ["condensed", "1", "2", "0:01:30", "50.00", "1 MiB", "1e+09"]
    assert table.rows[1][4] == "-"
    assert table.lines[-1] == "whole set: needs more"
