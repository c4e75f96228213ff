"""Signals at every moment of a run: the exit status, the line, and what is saved."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import user_environment
from gmlight.artifacts.checkpoint_file import read_checkpoint
from gmlight.artifacts.metrics_csv import read_metrics
from gmlight.artifacts.run_folder import RunFolder
from helpers.processes import run_forked, run_module
from helpers.runs import TINY
from helpers.stopping import (
    before_call,
    run_killed,
    run_signalled,
    run_stopped_in_a_long_call,
    run_with_a_full_disk,
)

WORDS = [
    *TINY, "iterations=3", "updates=1", "log_every=1", "checkpoint.every=100", "real_batch=4",
    "evaluation.networks=1", "evaluation.baselines.random=0",
]  # fmt: skip
DRAW = "gmlight.data.datamodule:CondensationData.draw"
COMPILATION = "gmlight.runtime.compile:Compiled._compile_and_call"
REPRESENTATIVE = ["method=representative", "sampling.steps=1", "sampling.every=2"]


@pytest.fixture
def process(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    def _process(target: Callable[..., None], *arguments: Any) -> subprocess.CompletedProcess:
        return run_forked(
            target, "gmlight.train", *arguments, folder=tmp_path, environment=user_environment(tmp_path)
        )

    return _process


Process = Callable[..., subprocess.CompletedProcess]


def lines_of(result: subprocess.CompletedProcess) -> list[str]:
    assert "Traceback" not in result.stderr, result.stderr
    return result.stderr.splitlines()


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        ("gmlight.data.source:DataSource.read", []),
        ("gmlight.condensation.initialization:herd", ["initialization=herding", "initialization.epochs=1"]),
    ],
    ids=["data", "herding"],
)
def test_signal_before_the_run_has_begun_leaves_nothing(
    process: Process, tmp_path: Path, moment: str, words: list[str]
) -> None:
    words = [*WORDS, *words]
    result = process(run_signalled, words, moment, 1, signal.SIGTERM)
    assert (result.returncode, lines_of(result)) == (143, ["gmlight: stopped by SIGTERM"])
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("moment", "words", "saved"),
    [
        ("lightning:Trainer.fit", [], 1),
        (DRAW, [], 1),
        ("gmlight.condensation.sampling:near_centres", REPRESENTATIVE, 1),
        ("gmlight.condensation.inner_loop:InnerLoop.start", [], 1),
        ("gmlight.training.final_evaluation:FinalEvaluation.__call__", [], 3),
        pytest.param(COMPILATION, ["speed.compile=true"], None, marks=pytest.mark.slow),
    ],
    ids=["start of training", "first draw", "first clustering", "first update", "evaluation", "compilation"],
)
def test_signal_in_a_run_saves_and_says_how_to_resume(
    process: Process, tmp_path: Path, moment: str, words: list[str], saved: int | None
) -> None:
    run = RunFolder(tmp_path / "run")
    words = [*WORDS, *words, f"hydra.run.dir={run.path}"]
    result = process(run_signalled, words, moment, 1, signal.SIGTERM)
    line = f"gmlight: stopped by SIGTERM; continue with resume={run.path}"
    assert (result.returncode, lines_of(result)) == (143, [line])
    if saved is not None:  # compiling may take longer than a signal is deferred
        assert read_checkpoint(run.last_checkpoint)["global_step"] == saved
    assert line.removeprefix("gmlight: ") in run.page.read_text()


def test_signal_in_the_first_draw_of_a_resumed_run(process: Process, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    started, resumed = [*WORDS, f"hydra.run.dir={run.path}"], [f"resume={run.path}"]
    for number, words in enumerate([started, resumed], start=1):
        result = process(run_signalled, words, DRAW, 1, signal.SIGTERM)
        line = f"gmlight: stopped by SIGTERM; continue with resume={run.path}"
        assert (result.returncode, lines_of(result)) == (143, [line])
        assert read_checkpoint(run.last_checkpoint)["global_step"] == number


def test_signal_while_a_resumed_run_reads_its_data(process: Process, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process(run_signalled, [*WORDS, f"hydra.run.dir={run}"], DRAW, 1, signal.SIGTERM)
    moment = "gmlight.data.source:DataSource.read"
    result = process(run_signalled, [f"resume={run}"], moment, 1, signal.SIGTERM)
    assert lines_of(result) == [f"gmlight: stopped by SIGTERM; continue with resume={run}"]


def test_signal_in_a_job_of_a_sweep_ends_the_sweep(process: Process, tmp_path: Path) -> None:
    words = ["-m", *WORDS, "seed=0,1"]
    result = process(run_signalled, words, DRAW, 1, signal.SIGTERM)
    (run,) = map(RunFolder, tmp_path.glob("runs/sweep/*/*/"))
    line = f"gmlight: stopped by SIGTERM; continue with resume={run.path.parent}"  # the whole sweep
    assert (result.returncode, lines_of(result)) == (143, [line])
    assert read_checkpoint(run.last_checkpoint)["global_step"] == 1


def test_long_draw_is_abandoned_and_the_updates_before_it_are_saved(process: Process, tmp_path: Path) -> None:
    alone, run = RunFolder(tmp_path / "alone"), RunFolder(tmp_path / "run")
    words = [*WORDS, *REPRESENTATIVE]
    assert process(run_module, [*words, f"hydra.run.dir={alone.path}"]).returncode == 0
    # The draw of the third update comes before the second update.
    result = process(run_stopped_in_a_long_call, [*words, f"hydra.run.dir={run.path}"], DRAW, 3)
    line = f"gmlight: stopped by SIGTERM; continue with resume={run.path}"
    assert (result.returncode, lines_of(result)) == (143, [line])
    assert read_checkpoint(run.last_checkpoint)["global_step"] == 1
    assert process(run_module, [f"resume={run.path}"]).returncode == 0
    same = "condensed.safetensors"
    assert (run.condensed / same).read_bytes() == (alone.condensed / same).read_bytes()
    assert [row["step"] for row in read_metrics(run.metrics)] == ["0", "1", "2", "3"]


@pytest.mark.parametrize(("ignored", "status"), [(False, 129), (True, 0)], ids=["terminal", "nohup"])
def test_hangup_ends_a_run_unless_it_is_ignored(
    process: Process, tmp_path: Path, ignored: bool, status: int
) -> None:
    run = RunFolder(tmp_path / "run")
    result = process(run_hung_up, [*WORDS, f"hydra.run.dir={run.path}"], ignored)
    line = f"gmlight: stopped by SIGHUP; continue with resume={run.path}"
    assert (result.returncode, lines_of(result)) == (status, [] if ignored else [line])
    assert run.result.exists() == ignored


def run_hung_up(module: str, words: list[str], ignored: bool) -> None:
    """Sends SIGHUP in the first draw of a run; under nohup it is ignored from the start."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    run_signalled(module, words, DRAW, 1, signal.SIGHUP)


@pytest.mark.parametrize(
    "words", [[], pytest.param(["-m", "seed=0"], marks=pytest.mark.slow)], ids=["run", "sweep"]
)
def test_run_goes_on_and_saves_when_nobody_reads_its_output(
    process: Process, tmp_path: Path, words: list[str]
) -> None:
    result = process(run_unread, [*words, *WORDS])
    assert (result.returncode, lines_of(result)) == (0, [])
    assert len([*tmp_path.glob("runs/**/result.json")]) == 1


def run_unread(module: str, words: list[str]) -> None:
    """Runs a command whose reader goes away in the first draw, as `| head` does."""

    def close() -> None:
        os.close(read_end)

    read_end, write_end = os.pipe()
    for descriptor in (1, 2):
        os.dup2(write_end, descriptor)
    os.close(write_end)
    before_call(DRAW, 1, close)
    run_module(module, words)


FINISHED = '<strong class="finished">'
EVALUATED = [*WORDS, "evaluation.every=1", "evaluation.quick_networks=1", "checkpoint.every=1"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of EVALUATED that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    words = [*EVALUATED, f"hydra.run.dir={folder / 'run'}"]
    environment = user_environment(folder)
    assert (
        run_forked(run_module, "gmlight.train", words, folder=folder, environment=environment).returncode == 0
    )
    return RunFolder(folder / "run")


def assert_same(run: RunFolder, expected: RunFolder) -> None:
    """Compares the set, the accuracies, and all metrics but pace and memory."""
    for name in ("condensed.safetensors", "grid.png"):
        assert (run.condensed / name).read_bytes() == (expected.condensed / name).read_bytes()
    found, wanted = (
        [
            {name: value for name, value in row.items() if not name.startswith(("speed/", "memory/"))}
            for row in read_metrics(each.metrics)
        ]
        for each in (run, expected)
    )
    assert found == wanted
    accuracies = [each.read_result()["evaluations"] for each in (run, expected)]
    assert accuracies[0] == accuracies[1]
    assert FINISHED in run.page.read_text()
    assert not [*run.path.rglob("*.unfinished")]


ROW, CHECKPOINT = (
    "gmlight.reporting.csv_logger:append_row",
    "gmlight.artifacts.checkpoint_io:AtomicCheckpointIO.save_checkpoint",
)
PICTURE, SET = "gmlight.callbacks.evaluation:save_grid", "gmlight.artifacts.condensed_set:write"
RESULT, PAGE = "gmlight.artifacts.results:write_result", "gmlight.callbacks.page:RunPage.show_finished"


@pytest.mark.parametrize(
    ("moment", "call"),
    [
        (PICTURE, 2),  # the evaluation is logged; its picture says so
        pytest.param(PICTURE, 4, marks=pytest.mark.slow),  # the same for the final evaluation
        *(pytest.param(ROW, call, marks=pytest.mark.slow) for call in (1, 2, 3)),
        *(pytest.param(CHECKPOINT, call, marks=pytest.mark.slow) for call in (1, 2, 3)),
        *(pytest.param(PICTURE, call, marks=pytest.mark.slow) for call in (1, 3)),
        *(pytest.param(moment, 1, marks=pytest.mark.slow) for moment in (SET, RESULT)),
    ],
)
def test_killed_run_is_resumed_without_doubled_rows(
    process: Process, tmp_path: Path, undisturbed: RunFolder, moment: str, call: int
) -> None:
    run = RunFolder(tmp_path / "run")
    killed = process(run_killed, [*EVALUATED, f"hydra.run.dir={run.path}"], moment, call)
    assert killed.returncode == -signal.SIGKILL
    resumed = process(run_module, [f"resume={run.path}"])
    assert resumed.returncode == 0, resumed.stderr
    assert_same(run, undisturbed)


@pytest.mark.parametrize(
    ("moment", "call", "file"),
    [
        (DRAW, 1, "metrics.csv"),
        pytest.param(PICTURE, 2, "samples/00001.png", marks=pytest.mark.slow),
        pytest.param(CHECKPOINT, 2, "checkpoints/last.ckpt", marks=pytest.mark.slow),
        pytest.param(SET, 1, "", marks=pytest.mark.slow),
        pytest.param(RESULT, 1, "", marks=pytest.mark.slow),
    ],
)
def test_full_disk_in_a_begun_run_says_to_make_room_and_resume(
    process: Process, tmp_path: Path, undisturbed: RunFolder, moment: str, call: int, file: str
) -> None:
    run = RunFolder(tmp_path / "run")
    stopped = process(run_with_a_full_disk, [*EVALUATED, f"hydra.run.dir={run.path}"], moment, call)
    assert stopped.returncode == 1
    (line,) = lines_of(stopped)
    assert line.startswith("gmlight: cannot write ")
    assert line.endswith(f": File too large; make room and go on with resume={run.path}")
    assert file in line or str(run.path) in line
    resumed = process(run_module, [f"resume={run.path}"])
    assert resumed.returncode == 0, resumed.stderr
    assert_same(run, undisturbed)


def test_page_of_a_finished_run_is_made_good_when_the_run_is_resumed(
    process: Process, tmp_path: Path, undisturbed: RunFolder
) -> None:
    run = RunFolder(tmp_path / "run")
    killed = process(run_killed, [*EVALUATED, f"hydra.run.dir={run.path}"], PAGE, 1)
    assert killed.returncode == -signal.SIGKILL
    assert FINISHED not in run.page.read_text()
    refused = process(run_module, [f"resume={run.path}"])
    assert refused.returncode == 1
    assert "the run is finished; raise iterations= above 3" in refused.stderr
    assert_same(run, undisturbed)
    written = run.page.stat().st_mtime_ns
    process(run_module, [f"resume={run.path}"])
    assert run.page.stat().st_mtime_ns == written
