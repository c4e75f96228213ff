"""Robustness of runs: kills, full disks, signals, random overrides. Takes minutes; slow tier."""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gmlight.artifacts.run_folder import RunFolder
from helpers.runs import TINY, Run

pytestmark = pytest.mark.slow

KILLS = 30
# 400 updates of about ten milliseconds: longer than a process lives in the kill loop.
WORDS = [
    "scale=smoke", "trainer=cpu", "download=false", "ipc=2", "iterations=200", "real_batch=4",
    "schedule=fixed", "schedule.epochs=1", "architecture.width=8", "checkpoint.every=1", "log_every=1",
    "evaluation.every=0",
    "evaluation.networks=20", "evaluation.epochs=2", "evaluation.baselines.random=0",
    "evaluation.baselines.whole=0",
]  # fmt: skip


def start(tmp_path: Path, *words: str, **options: object) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | options.pop("environment", {})  # type: ignore[operator]
    return subprocess.Popen(
        [sys.executable, "-m", "gmlight.train", *words],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,  # type: ignore[call-overload]
    )


def wait_for(path: Path, process: subprocess.Popen) -> None:
    while not path.exists():
        assert process.poll() is None
        time.sleep(0.05)  # between two checks


def finish(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    return output


def condensed(folder: Path) -> bytes:
    return (folder / "condensed" / "condensed.safetensors").read_bytes()


def another_filesystem(path: Path) -> Path | None:
    candidates = [Path("/dev/shm"), Path("/tmp"), Path.home()]
    here = path.stat().st_dev
    return next((each for each in candidates if each.is_dir() and each.stat().st_dev != here), None)


def test_run_killed_at_random_moments_gives_the_same_bits(tmp_path: Path) -> None:
    undisturbed = tmp_path / "undisturbed"
    started = time.monotonic()
    finish(start(tmp_path, *WORDS, f"hydra.run.dir={undisturbed}"))
    duration = time.monotonic() - started

    elsewhere = another_filesystem(tmp_path)
    environment = {"TMPDIR": str(elsewhere)} if elsewhere else {}
    rng, run, killed, sessions = random.Random(0), tmp_path / "run", 0, 0
    finished: list[Path] = []
    while killed < KILLS:
        started_before = (run / "config.yaml").exists()
        words = [f"resume={run}"] if started_before else [*WORDS, f"hydra.run.dir={run}"]
        process = start(tmp_path, *words, environment=environment)
        sessions += 1
        try:
            process.wait(rng.uniform(0, duration))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
        else:
            assert process.returncode == 0, process.stdout.read()  # type: ignore[union-attr]
        if (run / "result.json").exists():
            finished.append(run)
            run = tmp_path / f"run{len(finished)}"
    if (run / "config.yaml").exists():
        finish(start(tmp_path, f"resume={run}"))
        finished.append(run)
    assert finished
    print(f"\n{killed} kills in {sessions} processes, {len(finished)} runs finished, TMPDIR={elsewhere}")
    for folder in finished:
        assert condensed(folder) == condensed(undisturbed)
        assert not list(folder.rglob("*.unfinished"))


def test_full_disk_prints_one_line_and_the_run_can_be_resumed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [*WORDS, "iterations=3", f"hydra.run.dir={run}"]
    undisturbed = tmp_path / "undisturbed"
    finish(start(tmp_path, *words[:-1], f"hydra.run.dir={undisturbed}"))
    size = RunFolder(undisturbed).last_checkpoint.stat().st_size

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, resource.RLIM_INFINITY))

    process = start(tmp_path, *words, preexec_fn=limit)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 1
    (line,) = [line for line in output.splitlines() if line.startswith("gmlight: ")]
    assert "last.ckpt: File too large; make room and go on with resume=" in line
    assert "Traceback" not in output
    # With room again, the run resumes and nothing is lost.
    finish(start(tmp_path, f"resume={run}"))
    assert condensed(run) == condensed(undisturbed)


def test_disk_that_fills_later_keeps_the_previous_checkpoint(tmp_path: Path) -> None:
    run = tmp_path / "run"
    finish(start(tmp_path, *WORDS, "iterations=3", f"hydra.run.dir={run}"))
    before = RunFolder(run).find_checkpoint(print)
    assert before is not None
    content = before.read_bytes()

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(content) // 2, resource.RLIM_INFINITY))

    process = start(tmp_path, f"resume={run}", "iterations=5", preexec_fn=limit)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 1
    assert "File too large" in output
    assert before.read_bytes() == content
    finish(start(tmp_path, f"resume={run}", "iterations=5"))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_saves_and_ends_the_run(tmp_path: Path, number: int, status: int) -> None:
    run = tmp_path / "run"
    process = start(tmp_path, *WORDS, f"hydra.run.dir={run}")
    wait_for(RunFolder(run).last_checkpoint, process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == status
    assert f"continue with resume={run}" in output
    lines: list[str] = []
    assert RunFolder(run).find_checkpoint(lines.append) is not None
    assert lines == []


VALUES = st.one_of(
    st.integers(-3, 12).map(str),
    st.floats(allow_nan=True).map(lambda value: f"{value:.3g}"),
    st.sampled_from(["null", "true", "abc", "[]", "[1,2]", "{a:1}", "''", "inf", "1e400", "-0", "mlp", "é"]),
)
KEYS = st.sampled_from([
    "ipc", "iterations", "updates", "image_steps", "real_batch", "train_batch", "image_lr",
    "image_momentum", "network_lr", "seed", "log_every", "checkpoint.every", "checkpoint.minutes",
    "schedule", "schedule.epochs", "matching", "matching.inter_weight", "matching.class_weights",
    "distance", "distance.weight", "architecture", "architecture.width", "architecture.depth",
    "architecture.norm", "initialization", "evaluation.networks", "evaluation.epochs", "evaluation.lr",
    "evaluation.architectures", "speed.microbatch", "speed.precision", "speed.classes_per_block",
    "memory.device_share", "trainer.devices", "mixed_batch", "resume", "nonsense",
])  # fmt: skip


@settings(
    max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
)
@given(overrides=st.lists(st.tuples(KEYS, VALUES), min_size=1, max_size=3))
def test_random_overrides_run_or_print_one_line(
    typed: Run, tmp_path_factory: pytest.TempPathFactory, overrides: list[tuple[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("words") / "run"
    words = [f"{key}={value}" for key, value in overrides]
    result = typed("train", *TINY, *words, f"hydra.run.dir={folder}")
    assert result.returncode in (0, 1), words
    assert "Traceback" not in result.stderr, (words, result.stderr)
    if result.returncode == 1:
        assert "gmlight: " in result.stderr, (words, result.stderr)
    else:
        assert (folder / "result.json").exists()


RANKED = [
    *WORDS[:4],
    "iterations=30",
    *WORDS[5:],
    "matching=intra",
    "distance=cos",
    "speed.classes_per_block=1",
]
DDP = ["trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu"]


def test_two_processes_are_stopped_and_one_resumes(tmp_path: Path) -> None:
    """A signal to one process stops both; resuming with one or two processes gives the same bits."""
    alone, run = tmp_path / "alone", tmp_path / "run"
    finish(start(tmp_path, *RANKED, f"hydra.run.dir={alone}"))
    process = start(tmp_path, *RANKED, *DDP, f"hydra.run.dir={run}")
    wait_for(RunFolder(run).last_checkpoint, process)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 143, output
    assert f"continue with resume={run}" in output
    finish(start(tmp_path, f"resume={run}", "trainer=cpu"))
    assert condensed(run) == condensed(alone)
    output = finish(start(tmp_path, f"resume={run}", *DDP, "iterations=32"))
    assert output.count("resumed after image update 60") == 1  # printed by one process
    finish(start(tmp_path, f"resume={alone}", "iterations=32"))
    assert condensed(run) == condensed(alone)


@pytest.mark.parametrize(("victim", "status"), [("launched", 1), ("first", -signal.SIGKILL)])
def test_run_of_two_processes_ends_when_one_is_killed(tmp_path: Path, victim: str, status: int) -> None:
    alone, run = tmp_path / "alone", RunFolder(tmp_path / "run")
    finish(start(tmp_path, *RANKED, f"hydra.run.dir={alone}"))
    process = start(tmp_path, *RANKED, *DDP, f"hydra.run.dir={run.path}")
    wait_for(run.last_checkpoint, process)
    (launched,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[:1]
    os.kill(process.pid if victim == "first" else int(launched), signal.SIGKILL)
    output, _ = process.communicate(timeout=120)  # until both have closed the pipe
    assert process.returncode == status
    assert "Traceback" not in output
    assert output.count("another process of the run has ended") == 1
    assert f"continue with resume={run.path}" in output
    assert '<strong class="stopped">' in run.page.read_text()
    finish(start(tmp_path, f"resume={run.path}", "trainer=cpu"))
    assert condensed(run.path) == condensed(alone)


def test_sweep_with_several_processes_per_run_is_refused(tmp_path: Path) -> None:
    process = start(tmp_path, "-m", *RANKED, *DDP, "seed=0,1")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "each of a run's 2 processes would start the whole sweep; start single runs, or" in output
