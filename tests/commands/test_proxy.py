"""Ranking candidates on a condensed set, as a user calls it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from helpers.runs import Run, refusal, train_tiny

SPACE = ["space=own", "space.values={architecture:{width:[4,8],depth:[1,9],norm:[none,batch]}}"]
WIDTHS = ["space=own", "space.values={architecture:{width:[4,8]}}"]
NO_PROXIES = [f"proxies.{name}=false" for name in ("random", "herding", "early_stop")]
WORDS = ["evaluation.epochs=2", "reference.epochs=1", "trainer=cpu", "cache=networks"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("proxy") / "made"
    train_tiny(folder, "method=dc", "evaluation.baselines.random=0")
    return folder


@pytest.fixture
def tiny(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "tiny")


def content(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "proxy.json").read_text())


def logged(folder: Path) -> int:
    return sum(len(path.read_text().split("\n")) - 1 for path in (folder / "networks").glob("*.jsonl"))


def test_candidates_are_ranked_and_failures_named(typed: Run, tiny: Path, tmp_path: Path) -> None:
    done = typed("proxy", f"run={tiny}", *SPACE, *WORDS, "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    found = content(tmp_path / "out")
    assert len(found["candidates"]) == 8
    names = [each["name"] for each in found["proxies"]]
    assert names[1:] == ["random images", "herding", "early stop"]
    assert names[0].startswith("dc")
    for each in found["proxies"]:
        assert each["failed"] == 4  # nothing is left of the image after nine poolings
        assert each["ranking"]["n"] == 4
        assert each["storage_ratio"] == pytest.approx(1 if each["name"] == "early stop" else 20 / 1437)
    reasons = found["failures"]["whole set"]
    assert len(reasons) == 4
    assert all("pooling leaves nothing" in reason for reason in reasons.values())
    assert "failed on herding: 4" in done.stdout
    for accuracies in found["accuracies"].values():
        assert [networks[0] is None for networks in accuracies] == [False, False, True, True] * 2
    for name in ("proxy.png", "proxy.svg", "proxy.html"):
        assert (tmp_path / "out" / name).exists()
    assert max(map(len, done.stdout.splitlines())) <= 80 or "proxy.json" in done.stdout


def test_no_network_is_trained_twice(typed: Run, tiny: Path, tmp_path: Path) -> None:
    words = ["proxy", f"run={tiny}", *WIDTHS, *WORDS, "proxies.herding=false"]
    assert typed(*words, "hydra.run.dir=first").returncode == 0
    assert logged(tmp_path) == 8
    assert typed(*words, "hydra.run.dir=second").returncode == 0
    assert logged(tmp_path) == 8
    assert content(tmp_path / "first")["accuracies"] == content(tmp_path / "second")["accuracies"]
    more = ["space=own", "space.values={architecture:{width:[4,8,16]}}", "hydra.run.dir=third"]
    assert typed(*words, *more).returncode == 0
    assert logged(tmp_path) == 12
    assert typed(*words, "evaluation.lr=0.02", "hydra.run.dir=fourth").returncode == 0
    assert logged(tmp_path) == 20
    assert typed(*words, "reference.epochs=2", "hydra.run.dir=fifth").returncode == 0
    assert logged(tmp_path) == 22  # on the whole set alone


@pytest.mark.slow
def test_parts_and_processes_give_what_one_command_gives(command: Run, tiny: Path, tmp_path: Path) -> None:
    words = ["proxy", f"run={tiny}", *WIDTHS, *WORDS, "proxies.herding=false"]
    for part in (0, 1):
        done = command(*words, f"part={part}", "parts=2", f"hydra.run.dir=part{part}")
        assert f"part {part} of 2 is trained" in done.stdout, done.stderr
        assert logged(tmp_path) == 4 * (part + 1)
    assert command(*words, "hydra.run.dir=joined").returncode == 0
    assert logged(tmp_path) == 8
    both = command(*words, "jobs=2", "cache=elsewhere", "hydra.run.dir=both")
    assert both.returncode == 0, both.stderr
    assert content(tmp_path / "joined")["accuracies"] == content(tmp_path / "both")["accuracies"]


def test_further_sets_are_proxies_too(typed: Run, tiny: Path, tmp_path: Path) -> None:
    other = shutil.copytree(tiny, tmp_path / "other")
    words = [
        "space=own",
        "space.values={evaluation:{lr:[0.001,0.01,0.1]}}",
        *NO_PROXIES,
    ]
    done = typed("proxy", f"run={tiny}", f"others=[{other}]", *words, *WORDS, "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    first, second = content(tmp_path / "out")["proxies"]
    assert second["name"] == f"{first['name']} ({other})"
    assert first["ranking"] == second["ranking"]


def test_a_dry_run_writes_nothing(typed: Run, tiny: Path, tmp_path: Path) -> None:
    done = typed("proxy", f"run={tiny}", *SPACE, *WORDS, "dry_run=true")
    assert done.returncode == 0, done.stderr
    assert "8 candidates on 5 training sets: 40 networks" in done.stdout
    assert "networks   40, of which 0 are trained already" in done.stdout
    assert not (tmp_path / "networks").exists()
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["space=nothing"], "nothing"),
        (["space=own"], "space.values: must have a list of values"),
        (["space=own", "space.values={image_lr:[1]}"], "candidates can differ in"),
        (
            ["space=own", "space.values={architecture:{wdith:[1]}}"],
            "space.values.architecture.wdith: there is no such key",
        ),
        (["space=own", "space.values={evaluation:{lr:[-1]}}"], "evaluation.lr=-1: must be a number above 0"),
        (["parts=2", "part=2"], "part=2: must be below parts=2"),
        (["jobs=0"], "jobs=0: must be a whole number of at least 1"),
        (["others=[nowhere]"], "no condensed set there"),
        (["image_lr=1"], "belongs to the run that made the set"),
    ],
)
def test_wrong_words_are_refused(typed: Run, tiny: Path, words: list[str], message: str) -> None:
    assert message in refusal(typed("proxy", f"run={tiny}", *WORDS, *words))
