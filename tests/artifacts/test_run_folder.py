"""The folder of a run: what is found in it, set aside, and removed when the run resumes."""

from pathlib import Path

import pytest
import torch

from gmlight.artifacts.checkpoint_io import AtomicCheckpointIO
from gmlight.artifacts.metrics_csv import read_metrics
from gmlight.artifacts.run_folder import RunFolder
from gmlight.errors import ConfigError
from helpers.results import write_result


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """Three outer iterations of two updates, with the evaluations of k = 1 and 2."""
    run = RunFolder(tmp_path / "run")
    run.samples_folder.mkdir(parents=True)
    for k in range(4):
        run.samples(k).touch()
    rows = ["step,loss,accuracy/mean", *(f"{step},0.5," for step in range(6)), "2,,50.0", "4,,60.0"]
    run.metrics.write_text("\n".join(rows) + "\n")
    return run


def save(folder: RunFolder, step: int) -> Path:
    checkpoint = {"global_step": step, "images": torch.zeros(2)}
    AtomicCheckpointIO().save_checkpoint(checkpoint, folder.last_checkpoint)
    return folder.last_checkpoint


def steps(folder: RunFolder) -> list[tuple[int, bool]]:
    """Of each row of the metrics its step, and whether it is an evaluation's."""
    return [(int(row["step"]), bool(row["accuracy/mean"])) for row in read_metrics(folder.metrics)]


def test_a_resumed_run_repeats_what_came_after_its_checkpoint(folder: RunFolder) -> None:
    assert folder.rewind(save(folder, 4), iterations=3, updates=2) == 4
    for other in ("1abc.png", "²3.png", "9" * 30 + ".png"):
        (folder.samples_folder / other).touch()
    assert [int(path.stem) for path in folder.all_samples] == [0, 1, 2]
    assert steps(folder) == [(0, False), (1, False), (2, False), (3, False), (2, True), (4, True)]
    # A finished run has its last accuracy evaluated again.
    assert folder.rewind(save(folder, 4), iterations=2, updates=2) == 4
    assert (4, True) not in steps(folder)


def test_without_a_checkpoint_all_is_repeated(folder: RunFolder) -> None:
    assert folder.rewind(None, iterations=3, updates=2) == 0
    assert [int(path.stem) for path in folder.all_samples] == [0]
    assert steps(folder) == []


def test_a_damaged_last_checkpoint_is_removed_where_the_previous_one_is_used(folder: RunFolder) -> None:
    save(folder, 2)
    save(folder, 4).write_bytes(b"damaged")
    lines: list[str] = []
    checkpoint = folder.find_checkpoint(lines.append)
    assert checkpoint == folder.previous_checkpoint
    assert len(lines) == 1
    assert folder.rewind(checkpoint, iterations=3, updates=2) == 2
    assert not folder.last_checkpoint.exists()
    assert folder.previous_checkpoint.exists()


def test_a_finished_run_is_set_aside(folder: RunFolder) -> None:
    assert folder.finished_iterations is None
    folder.set_result_aside()  # there is none
    folder.condensed.mkdir()
    write_result(folder.path, ("config.iterations", 3))
    assert folder.finished_iterations == 3
    with pytest.raises(ConfigError, match="finished and has no checkpoint"):
        folder.find_checkpoint(print)
    folder.set_result_aside()
    assert not folder.has_run
    assert not folder.condensed.exists()
    assert {path.name for path in folder.path.glob("*-k3*")} == {"condensed-k3", "result-k3.json"}


def test_runs_are_found_at_any_depth(tmp_path: Path) -> None:
    begun, finished, evaluation = (RunFolder(tmp_path / name) for name in ("b", "a/a", "a/a/evaluations/x"))
    for run in (begun, finished, evaluation):
        run.path.mkdir(parents=True)
    begun.config.touch()
    finished.config.touch()
    finished.result.touch()
    evaluation.result.touch()
    assert RunFolder.find_all(tmp_path) == [finished, evaluation, begun]
    assert RunFolder.of_checkpoint(begun.last_checkpoint) == begun


def test_a_folder_is_free_until_a_run_has_written(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    assert run.is_free
    run.path.mkdir()
    with run.locked():
        pass
    assert run.lock.exists()
    assert run.is_free
    run.config.touch()
    assert not run.is_free
    assert run.has_run


@pytest.mark.parametrize(
    "name", [".lock", "evaluation.jsonl", "samples/00001.png", "checkpoints", "result.json"]
)
def test_entries_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    """A stranger's folder must not make a run write to a user's files, or show them."""
    run = RunFolder(tmp_path / "run")
    run.samples_folder.mkdir(parents=True)
    run.refuse_strange_entries()
    (tmp_path / "mine").write_text("secret")
    (run.path / name).symlink_to(tmp_path / "mine")
    with pytest.raises(ConfigError, match="is a link or no file"):
        run.refuse_strange_entries()
    assert run.all_samples == []


def test_a_checkpoint_beyond_the_last_update_is_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    line = "saved after image update 7, but iterations=3 has only 6; use iterations>=4"
    with pytest.raises(ConfigError, match=line):
        folder.rewind(save(folder, 7), iterations=3, updates=2)


FILES = (
    "config.yaml", "result.json", "metrics.csv", "report.html", ".lock", "evaluation.jsonl", "origin.json",
    "checkpoints/last.ckpt", "checkpoints/previous.ckpt", "samples/00001.png",
)  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_folders_in_the_place_of_files_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir(parents=True)
    with pytest.raises(ConfigError, match=f"{name}: is a folder, not a file; remove it"):
        RunFolder(tmp_path).refuse_strange_entries()


@pytest.mark.parametrize("name", ["condensed", "samples", "checkpoints"])
def test_files_in_the_place_of_folders_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=f"{name}: is a file, not a folder; remove it"):
        RunFolder(tmp_path).refuse_strange_entries()


def test_pictures_in_a_linked_folder_are_not_shown(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "00001.png").touch()
    run.path.mkdir()
    run.samples_folder.symlink_to(tmp_path / "mine")
    assert run.all_samples == []
    run.samples_folder.unlink()
    (tmp_path / "mine").rename(run.samples_folder)
    assert run.all_samples == [run.samples(1)]


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"config": {"iterations": 1}}', '{"blank": "x", "config": {}}', '{"blank": "x"}'],
)
def test_strange_result_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    run = RunFolder(tmp_path)
    assert run.finished_iterations is None
    run.result.write_text(content)
    with pytest.raises(ConfigError, match=r"^[^\n]*result.json: not the result of a run \([^\n]*\)$"):
        _ = run.finished_iterations
