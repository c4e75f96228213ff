"""Runs on a real Slurm: requeued jobs resume their runs."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gmlight import CondensedDataset
from helpers.slurm_cluster import Cluster, cluster, missing

pytestmark = pytest.mark.slurm

# A run of half a minute whose progress is visible.
WORDS = [
    "dataset=digits", "scale=smoke", "iterations=400", "architecture.width=16", "checkpoint.every=100",
    "evaluation.baselines.random=0", "evaluation.baselines.whole=0", "evaluation.every=0", "log_every=1",
]  # fmt: skip
SCRIPT = re.search(
    r"```bash\n(#!.*?)```", (Path(__file__).parents[2] / "docs" / "scaling.md").read_text(), re.DOTALL
)
MINUTES = 5  # limit of every wait


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if reason := missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("slurm", numbered=True)
    for parent in folder.parents[:2]:  # munge's user needs access
        parent.chmod(0o755)
    with cluster(folder, cores=2) as started:
        started.environment["OMP_NUM_THREADS"] = "1"
        yield started


def wait(condition: Callable[[], object], what: str, slurm: Cluster | None = None) -> None:
    deadline = time.monotonic() + 60 * MINUTES
    while not condition():
        assert time.monotonic() < deadline, f"not in {MINUTES} minutes: {what}"
        if slurm is not None:
            slurm.hurry()
        time.sleep(0.2)


def undisturbed(folder: Path, *words: str) -> None:
    """Runs a run or a sweep without interruption in the folder."""
    place = [f"hydra.run.dir={folder}", f"hydra.sweep.dir={folder}"]
    command = [sys.executable, "-m", "gmlight.train", *WORDS, *words, *place]
    subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, capture_output=True)


def unfinished(folder: Path) -> bool:
    """Whether the run in the folder has a checkpoint and is not finished."""
    return (folder / "checkpoints" / "last.ckpt").exists() and not (folder / "condensed").exists()


def test_sweep_with_one_preempted_run(slurm: Cluster, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "gmlight.train", "-m", "hydra/launcher=submitit_slurm",
        "hydra.launcher.partition=low", "hydra.sweep.dir=sweep", "trainer=cpu", "ipc=1", "seed=0,1,2,3",
        *WORDS,
    ]  # fmt: skip
    folders = [tmp_path / "sweep" / str(number) for number in range(4)]
    with (tmp_path / "printed").open("w") as printed:
        sweep = subprocess.Popen(command, cwd=tmp_path, env=slurm.environment, stdout=printed, stderr=printed)
        wait(lambda: all(map(unfinished, folders)), "four parallel runs")
        # The four runs use all cores, so one of them is preempted.
        slurm.run("sbatch", "--partition=high", "--ntasks=1", "--wrap=sleep 5", cwd=tmp_path)
        wait(lambda: sweep.poll() is not None, "the end of the sweep", slurm)
    assert sweep.returncode == 0, (tmp_path / "printed").read_text()
    logs = {path: path.read_text() for path in (tmp_path / "sweep" / ".submitit").rglob("*_log.*")}
    stopped = [path for path, text in logs.items() if "stopped by SIGTERM" in text]
    assert len(stopped) == 1
    resumed_after = [
        int(step) for text in logs.values() for step in re.findall(r"resumed after image update (\d+)", text)
    ]
    assert len(resumed_after) == 1
    assert 100 < resumed_after[0] < 400  # later than the last scheduled checkpoint
    undisturbed(tmp_path / "alone", "-m", "trainer=cpu", "ipc=1", "seed=0,1,2,3")
    for folder in folders:
        found, expected = CondensedDataset(folder), CondensedDataset(tmp_path / "alone" / folder.name)
        assert found.images.equal(expected.images)
        assert found.metadata["evaluations"] == expected.metadata["evaluations"]
    report = subprocess.run(
        [sys.executable, "-m", "gmlight.report", "runs=sweep/*", "csv=table.csv"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert report.returncode == 0, report.stderr
    (row,) = [line for line in (tmp_path / "table.csv").read_text().splitlines() if "digits" in line]
    assert ",8," in row  # four sets, two networks each


@pytest.mark.parametrize(("how", "nodes"), [("preempted", 1), ("time", 2)])
def test_run_of_two_tasks_is_resumed(slurm: Cluster, tmp_path: Path, how: str, nodes: int) -> None:
    assert SCRIPT is not None
    script = re.sub(r"#SBATCH --(gres|time)=.*\n", "", SCRIPT[1])
    script = script.replace("--nodes=2", f"--nodes={nodes}").replace("per-node=4", f"per-node={2 // nodes}")
    command = (
        f"{sys.executable} -m gmlight.train trainer=slurm trainer.accelerator=cpu ipc=1 {' '.join(WORDS)}"
    )
    script = re.sub(r"python -m gmlight\.train .*", command, script)
    job = slurm.run("sbatch", "--parsable", "--partition=low", cwd=tmp_path, input=script)
    folder = tmp_path / "runs" / "digits-ipc1" / f"slurm-{job}.0"
    output = tmp_path / f"slurm-{job}.out"
    wait(lambda: unfinished(folder), "a run of two tasks")
    if how == "preempted":
        slurm.run("sbatch", "--partition=high", "--ntasks=3", "--wrap=sleep 5", cwd=tmp_path)
    else:  # as --signal= does shortly before the time limit
        slurm.run("scancel", "--signal=TERM", job)
    wait(lambda: (folder / "result.json").exists(), "the resumed run", slurm)
    wait(lambda: slurm.state(job)["JobState"] == "COMPLETED", "the job's end")
    assert slurm.state(job)["Restarts"] == "1"
    printed = output.read_text()
    assert "stopped by SIGTERM" in printed
    (update,) = re.findall(r"resumed after image update (\d+)", printed)
    assert 100 < int(update) < 400  # later than the last scheduled checkpoint
    alone = tmp_path / "alone"
    undisturbed(alone, "trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "ipc=1")
    assert CondensedDataset(folder).images.equal(CondensedDataset(alone).images)


def test_sweep_at_its_time_limit(slurm: Cluster, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "gmlight.train", "-m", "hydra/launcher=submitit_slurm", "hydra.sweep.dir=sweep",
        "hydra.launcher.timeout_min=60", "trainer=cpu", "ipc=1", *WORDS,
    ]  # fmt: skip
    folder = tmp_path / "sweep" / "0"
    with (tmp_path / "printed").open("w") as printed:
        sweep = subprocess.Popen(command, cwd=tmp_path, env=slurm.environment, stdout=printed, stderr=printed)
        wait(lambda: unfinished(folder), "a run")
        (job,) = slurm.run("squeue", "--noheader", "--format=%i").split()
        slurm.run("scancel", "--signal=USR2", job)  # as submitit's --signal= does
        wait(lambda: sweep.poll() is not None, "the end of the sweep", slurm)
    assert sweep.returncode == 0, (tmp_path / "printed").read_text()
    logs = "".join(path.read_text() for path in (tmp_path / "sweep" / ".submitit").rglob("*_log.*"))
    assert "stopped by SIGUSR2" in logs
    (update,) = re.findall(r"resumed after image update (\d+)", logs)
    assert 100 < int(update) < 400
    undisturbed(tmp_path / "alone", "trainer=cpu", "ipc=1")
    assert CondensedDataset(folder).images.equal(CondensedDataset(tmp_path / "alone").images)


def test_job_fails_if_its_run_is_refused(slurm: Cluster, tmp_path: Path) -> None:
    assert SCRIPT is not None
    script = re.sub(r"#SBATCH --(gres|time|nodes|ntasks).*\n", "", SCRIPT[1])
    command = f"{sys.executable} -m gmlight.train trainer=slurm trainer.accelerator=cpu image_lr=-1"
    script = re.sub(r"python -m gmlight\.train .*", command, script)
    job = slurm.run("sbatch", "--parsable", cwd=tmp_path, input=script)
    wait(lambda: slurm.state(job)["JobState"] not in ("PENDING", "RUNNING", "COMPLETING"), "the job's end")
    assert slurm.state(job)["JobState"] == "FAILED"
    assert "image_lr=-1: must be" in (tmp_path / f"slurm-{job}.out").read_text()


def test_missing_partition_prints_one_line(slurm: Cluster, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gmlight.train", "-m", "hydra/launcher=submitit_slurm", *WORDS,
         "hydra.launcher.partition=nowhere"],
        cwd=tmp_path, env=slurm.environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "invalid partition specified: nowhere" in done.stderr


def test_several_tasks_without_trainer_slurm_are_refused(slurm: Cluster, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "gmlight.train", *WORDS]
    for asked, trainer, line in [
        (["--ntasks-per-node=2"], "cpu", "trainer=slurm"),
        (["--ntasks-per-node=2", "--job-name=bash"], "cpu", "trainer=slurm"),
        (["--ntasks=2"], "slurm", "use --ntasks-per-node="),
    ]:
        done = subprocess.run(
            ["srun", *asked, *words, f"trainer={trainer}"],
            cwd=tmp_path, env=slurm.environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 1
        assert line in done.stderr
        assert "Traceback" not in done.stderr
