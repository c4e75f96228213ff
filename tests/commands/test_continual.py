"""Learning in steps, as a user calls it: results, resuming, memories, refusals."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from gmlight.artifacts import condensed_set
from gmlight.artifacts.condensed_set import CondensedDataset
from helpers.runs import TINY, Run, refusal

WORDS = [*TINY, "dataset=digits", "method=md", "steps=5", "evaluation.epochs=5", "evaluation.networks=1"]


def memories(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "continual.json").read_text())["memories"]


def test_steps_are_condensed_learned_and_reported(typed: Run, tmp_path: Path) -> None:
    done = typed("continual", *WORDS, "orders=2", "hydra.run.dir=made")
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "made" / "continual.json").read_text())
    assert list(content["memories"]) == ["condensed", "herding", "random"]
    for orders in content["memories"].values():
        assert [each["order"] for each in orders] == [0, 1]
        for each in orders:
            [network] = each["accuracies"]
            assert [len(tasks) for tasks in network] == [1, 2, 3, 4, 5]
            assert all(0 <= accuracy <= 100 for tasks in network for accuracy in tasks)
            assert each["storage_bytes"] == 4 * 10 * 2 * 64
            assert sum(each["test_images"]) == 360
            assert each["curve"][0] == pytest.approx(network[0][0])
    assert len(set(content["tasks"][0])) == 5
    assert content["tasks"][0] != content["tasks"][1]
    step = CondensedDataset(tmp_path / "made" / "condensed" / "order1-step3")
    assert ", ".join(step.classes) == content["tasks"][1][2]
    assert len(step) == 4
    for name in ("continual.png", "continual.svg", "continual.html"):
        assert (tmp_path / "made" / name).exists()
    assert "average" in done.stdout
    assert "condensed" in done.stdout


@pytest.mark.parametrize("carry", ["false", "true"])
def test_a_killed_command_goes_on_without_repeating_work(typed: Run, tmp_path: Path, carry: str) -> None:
    words = [*WORDS, "orders=1", "memory=condensed", f"carry={carry}"]
    assert typed("continual", *words, "hydra.run.dir=whole").returncode == 0
    killed = tmp_path / "killed"
    shutil.copytree(tmp_path / "whole", killed)
    for path in killed.glob("continual.*"):
        path.unlink()
    shutil.rmtree(killed / "condensed" / "order0-step5")
    stopped = killed / "condensed" / "order0-step4"  # its set is there, but not complete
    (stopped / "result.json").unlink(missing_ok=True)
    condensed_set.update_metadata(stopped / "condensed", complete=False)
    [log] = (killed / "networks").glob("*.jsonl")
    log.rename(log.with_name("elsewhere-1.jsonl"))
    log = log.with_name("elsewhere-1.jsonl")
    log.write_text("\n".join(log.read_text().splitlines()[:9]))  # three steps and more
    files = killed.glob("condensed/*/condensed/*")
    kept = {path: path.stat().st_mtime_ns for path in files if not path.is_relative_to(stopped)}
    assert typed("continual", "resume=killed").returncode == 0
    assert memories(killed) == memories(tmp_path / "whole")
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert CondensedDataset(stopped).metadata["complete"]
    [fresh] = [path for path in (killed / "networks").glob("*.jsonl") if path != log]
    assert len(fresh.read_text().split()) < 60
    again = refusal(typed("continual", "resume=killed"))
    assert "is finished" in again


def test_carried_networks_differ_from_fresh_ones_after_the_first_step(typed: Run, tmp_path: Path) -> None:
    words = [*WORDS, "orders=1", "memory=random", "steps=2"]
    for carry in ("false", "true"):
        assert typed("continual", *words, f"carry={carry}", f"hydra.run.dir={carry}").returncode == 0
    fresh, carried = (memories(tmp_path / name)["random"][0]["accuracies"][0] for name in ("false", "true"))
    assert fresh[0] == carried[0]
    assert fresh[1] != carried[1]


@pytest.mark.slow
def test_processes_share_the_work_and_change_nothing(command: Run, tmp_path: Path) -> None:
    words = [*WORDS, "orders=1", "memory=[random,condensed]", "steps=2"]
    for jobs in ("1", "2"):
        done = command("continual", *words, f"jobs={jobs}", f"hydra.run.dir={jobs}")
        assert done.returncode == 0, done.stderr
    assert memories(tmp_path / "1") == memories(tmp_path / "2")


def test_datasets_are_learned_one_after_another(typed: Run, tmp_path: Path) -> None:
    words = [*WORDS, "datasets=[digits,digits]", "memory=random", "hydra.run.dir=chain"]
    done = typed("continual", *words)
    assert done.returncode == 0, done.stderr
    [each] = memories(tmp_path / "chain")["random"]
    assert [len(tasks) for tasks in each["accuracies"][0]] == [1, 2]
    assert each["test_images"] == [360, 360]
    first, second = each["accuracies"][0][1]
    assert first == second  # the same test images


def test_a_dry_run_writes_nothing(typed: Run, tmp_path: Path) -> None:
    done = typed("continual", *WORDS, "dry_run=true", "hydra.run.dir=dry")
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"so much for one step; \d+:\d\d:\d\d for 25 condensed steps and 75 networks", done.stdout
    )
    assert not list((tmp_path / "dry").iterdir()) if (tmp_path / "dry").exists() else True


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["steps=10"], "steps=10: must be from 2 to 5, so that each step has two or more of the 10 classes"),
        (["memory=all"], "memories=['all']: must be some of [condensed,random,herding]"),
        (["memories=[]"], "must be some of"),
        (["datasets=[digits,nothing]"], "nothing"),
        (["orders=0"], "orders=0: must be a whole number of at least 1"),
        (["distillation.temperature=0"], "distillation.temperature=0: must be a number above 0"),
    ],
)
def test_wrong_values_are_refused(typed: Run, tmp_path: Path, words: list[str], message: str) -> None:
    assert message in refusal(typed("continual", *WORDS, *words))
