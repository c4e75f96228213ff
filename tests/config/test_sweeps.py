"""What a sweep says at its end: how many of its runs are finished, and how it is continued."""

from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from gmlight.config.sweeps import Sweep


def of_sweep(folder: Path, *task: str, **keys: object) -> DictConfig:
    sweeper = {"_target_": "hydra._internal.core_plugins.basic_sweeper.BasicSweeper", "params": None}
    hydra = {"sweep": {"dir": str(folder)}, "overrides": {"task": list(task)}, "sweeper": sweeper}
    return OmegaConf.create({"hydra": hydra, "resume": None, **keys})


def job(folder: Path, *, finished: bool) -> None:
    folder.mkdir(parents=True)
    (folder / "config.yaml").touch()
    if finished:
        (folder / "result.json").write_text("{}")


@pytest.mark.parametrize(
    ("finished", "line"),
    [(1, "runs     1 of 3 finished; continue with resume="), (3, "runs     3 of 3 finished\n")],
)
def test_finished_runs_are_counted(
    finished: int,
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of three jobs, two have begun, or all are finished."""
    monkeypatch.chdir(tmp_path)
    for number in range(max(2, finished)):
        job(tmp_path / "sweep" / str(number), finished=number < finished)
    Sweep().on_multirun_end(of_sweep(tmp_path / "sweep", "seed=1,2,3", "ipc=1"))
    assert line in capsys.readouterr().out


def test_jobs_of_an_experiment_are_counted_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    job(tmp_path / "sweep" / "0", finished=True)
    config = of_sweep(tmp_path / "sweep", "ipc=1,2")
    config.hydra.sweeper.params = {"method": "dc,m", "ipc": "1,10,50"}  # what is typed wins
    Sweep().on_multirun_end(config)
    assert "runs     1 of 4 finished; continue with resume=sweep" in capsys.readouterr().out


@pytest.mark.parametrize("jobs", [0, 1])
def test_a_dry_sweep_leaves_nothing_behind(
    jobs: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "sweep"
    folder.mkdir()
    (folder / "multirun.yaml").touch()
    for number in range(jobs):
        (folder / str(number)).mkdir()
    Sweep().on_multirun_end(of_sweep(folder, "seed=1,2", "dry_run=true"))
    assert folder.exists() is bool(jobs)
    assert not (folder / "multirun.yaml").exists()
    assert capsys.readouterr().out == ""
