"""Sweeps with launchers, searches, and runs that Slurm or torchrun starts."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import datetime, tzinfo
from pathlib import Path

import pytest
import yaml
from hydra.errors import MissingConfigException
from omegaconf import OmegaConf

from gmlight import CondensedDataset
from gmlight.config.compose import register_resolvers
from gmlight.config.error_lines import explain_error
from gmlight.errors import ConfigError
from gmlight.runtime import slurm
from helpers.runs import Run, composed, refusal

SHORT = [
    "scale=smoke", "ipc=1", "trainer=cpu", "download=false", "architecture.width=8", "evaluation.every=0",
    "evaluation.baselines.random=0", "evaluation.baselines.whole=0",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as launchers set it; a plain sweep does not


def test_parallel_runs_equal_those_of_a_plain_sweep(forked: Run, tmp_path: Path) -> None:
    plain = forked("train", *SHORT, "-m", "seed=0,1", "hydra.sweep.dir=plain")
    parallel = forked(
        "train", "-m", *SHORT, "seed=0,1", "distance.weight=1,-1", "hydra.sweep.dir=parallel",
        "hydra/launcher=joblib", "hydra.launcher.n_jobs=2",
    )  # fmt: skip
    assert plain.returncode == 0, plain.stderr
    assert "python -m gmlight.report 'runs=plain/*'" in plain.stdout
    assert parallel.returncode == 1  # some runs were refused
    for seed in range(2):
        sets = [CondensedDataset(tmp_path / run) for run in (f"plain/{seed}", f"parallel/{2 * seed}")]
        assert sets[0].images.equal(sets[1].images)
    assert {line.split()[0] for line in parallel.stdout.splitlines() if line.strip()} == {"#0", "#2"}
    assert "#1  gmlight: distance.weight=-1: must be a number above 0" in parallel.stderr
    assert "gmlight: in a run of the sweep: distance.weight=-1: must be a number above 0" in parallel.stderr
    assert "Traceback" not in parallel.stderr


def test_launcher_finds_the_job_in_a_separate_process(forked: Run, tmp_path: Path) -> None:
    words = [*SHORT, "hydra.sweep.dir=sweep", "hydra/launcher=submitit_local"]
    done = forked("train", "-m", *words, "hydra.launcher.timeout_min=5")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sweep" / "0" / "result.json").exists()


def test_search(forked: Run, tmp_path: Path) -> None:
    words = [
        "experiment=search", *SHORT, "hydra.sweeper.n_trials=2", "hydra.sweep.dir=search",
        "hydra.sweeper.storage=sqlite:///search.db",
    ]  # fmt: skip
    done = forked("train", *words)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    results = [yaml.safe_load((tmp_path / "search" / n / "result.json").read_text()) for n in ("0", "1")]
    accuracies = [result["evaluations"][0]["accuracy"]["mean"] for result in results]
    found = yaml.safe_load((tmp_path / "search" / "optimization_results.yaml").read_text())
    assert found["best_value"] == max(accuracies)
    assert f"{max(accuracies):.2f} %" in done.stdout
    best = str(accuracies.index(max(accuracies)))
    assert f"run      search/{best}\n" in done.stdout.split("best ")[1]
    # So it is in none of the paper's tables.
    assert all("holdout=0.1" in result["departures"] for result in results)
    # The study is kept and resumed.
    again = forked("train", *words[:-2], "hydra.sweep.dir=further", words[-1])
    assert again.returncode == 0, again.stderr
    with closing(sqlite3.connect(tmp_path / "search.db")) as kept:
        assert kept.execute("select count(*) from trials").fetchone() == (4,)
        assert kept.execute("select count(*) from studies").fetchone() == (1,)


def test_search_without_direction_is_refused(forked: Run) -> None:
    words = ["-m", *SHORT, "hydra/sweeper=optuna", "hydra.sweeper.n_trials=1", "image_lr=interval(0.1,0.2)"]
    done = forked("train", *words)
    assert done.returncode == 1
    assert "add hydra.sweeper.direction=maximize" in done.stderr


@pytest.mark.parametrize("module", ["train", "evaluate"])
def test_variables_that_no_launcher_sets_are_refused(
    typed: Run, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "two")
    words = {"train": "ipc=1", "evaluate": "run=x"}[module]
    assert "WORLD_SIZE=two: must be a whole number" in refusal(typed(module, words))


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RuntimeError("Unknown plugin class : 'hydra_plugins.hydra_joblib_launcher.x'"), "gmlight[sweep]"),
        (RuntimeError("Unknown plugin class : 'hydra_plugins.hydra_submitit_launcher.x'"), "gmlight[sweep]"),
        (MissingConfigException("Could not find 'hydra/sweeper/optuna'"), "gmlight[optuna]"),
        (ValueError("No trials are completed yet."), "no run of the search"),
        (RuntimeError("a bug"), None),
    ],
)
def test_user_errors_of_launchers_become_one_line(error: Exception, line: str | None) -> None:
    explanation = explain_error(error)
    assert explanation is None if line is None else line in (explanation or "")


def test_slurm_environment_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)

    def refusal(together: bool) -> str:
        try:
            slurm.check_tasks(together=together)
        except ConfigError as error:
            return str(error)
        return ""

    assert not slurm.in_job()
    assert not slurm.was_requeued()
    assert not refusal(False)
    assert "srun" in refusal(True)
    monkeypatch.setenv("SLURM_JOB_ID", "7")  # a script
    monkeypatch.setenv("SLURM_NTASKS", "4")
    assert slurm.in_job()
    assert not refusal(False)
    assert "srun" in refusal(True)
    monkeypatch.setenv("SLURM_STEP_ID", "0")  # one of srun's tasks
    assert "trainer=slurm" in refusal(False)
    assert "--ntasks-per-node" in refusal(True)
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "2")
    assert not refusal(True)
    monkeypatch.setenv("SLURM_PTY_PORT", "4000")  # an interactive shell of srun
    for terminal in (True, False):
        monkeypatch.setattr(os, "isatty", lambda descriptor, terminal=terminal: terminal)
        assert bool(refusal(False)) is not terminal
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert slurm.was_requeued()
    monkeypatch.setenv("SLURM_NNODES", "2")
    trainer = composed("trainer=slurm").trainer
    assert (trainer.num_nodes, trainer.devices) == (2, 2)


def test_requeued_job_resumes_its_run(typed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [*SHORT, "hydra.run.dir=here"]
    first = typed("train", *words)
    assert first.returncode == 0, first.stderr
    assert "already holds a run" in typed("train", *words).stderr
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    again = typed("train", *words)  # the run had finished when the job was requeued
    assert again.returncode == 0, again.stderr
    assert "already finished" in again.stdout
    other = typed("train", *words, "seed=1")  # another run that has come to the same folder
    assert other.returncode == 1
    assert "seed=1 (was 0)" in other.stderr
    (tmp_path / "here" / "result.json").unlink()  # it was not
    again = typed("train", *words)
    assert again.returncode == 0, again.stderr
    assert "resumed after image update" in again.stdout
    assert (tmp_path / "here" / "result.json").exists()


def test_requeued_blank_cell_stays_blank(typed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["experiment=table3", "dataset=digits", "ipc=1", "method=mdo", "seed=0", "hydra.sweep.dir=sweep"]
    assert "not applicable" in typed("train", *words).stdout
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    again = typed("train", *words)
    assert again.returncode == 0, again.stderr
    assert "not applicable" in again.stdout


def test_torchrun_needs_a_run_folder(typed: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = typed("train", "trainer=ddp", "trainer.devices=2")
    assert done.returncode == 1
    assert "name a new one with hydra.run.dir=" in done.stderr
    assert "--multirun" in typed("train", "-m", "seed=0,1", "hydra.run.dir=here").stderr


def test_runs_started_at_the_same_time_get_different_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    register_resolvers()

    class Noon(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Noon":
            return cls(2026, 1, 1, 12)

    monkeypatch.setattr("gmlight.config.compose.datetime", Noon)
    names = {OmegaConf.create({"dir": "${stamp:}"}).dir for _ in range(2)}
    monkeypatch.setattr(os, "getpid", lambda: 7)
    names.add(OmegaConf.create({"dir": "${stamp:}"}).dir)
    assert len(names) == 2
    assert "2026-01-01_12-00-00-000000-7" in names


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_ends_all_parallel_runs(signum: int, status: int, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "gmlight.train", "-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2",
        *SHORT, "iterations=2000", "seed=0,1,2", "hydra.sweep.dir=sweep", "checkpoint.every=1",
    ]  # fmt: skip
    sweep = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while not all((tmp_path / "sweep" / n / "checkpoints" / "last.ckpt").exists() for n in "01"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(sweep.pid, signum) if signum == signal.SIGINT else sweep.terminate()
    _, errors = sweep.communicate(timeout=30)
    assert sweep.returncode == status
    assert "resume a started run with resume=" in errors
    assert "Traceback" not in errors
    with pytest.raises(ProcessLookupError):  # no process of the group is left
        wait_until_gone(sweep.pid)


def wait_until_gone(group: int) -> None:
    """Waits until the process group is empty, and raises ProcessLookupError."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        os.killpg(group, 0)
        time.sleep(0.1)
