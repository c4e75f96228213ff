"""Checkpoints are complete or refused."""

import errno
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from gmlight.artifacts.checkpoint_file import read_checkpoint
from gmlight.artifacts.checkpoint_io import AtomicCheckpointIO, naming_write_errors
from gmlight.artifacts.run_folder import RunFolder
from gmlight.errors import ConfigError

CHECKPOINT = {"images": torch.randn(10, 3, 32, 32), "global_step": 7, "zeta_used": [[1, 2]]}
FLIPS = 200
BLOCK = 4096


def save(folder: RunFolder, **changes: object) -> Path:
    AtomicCheckpointIO().save_checkpoint(CHECKPOINT | changes, folder.last_checkpoint)
    return folder.last_checkpoint


def found(folder: RunFolder) -> tuple[Path | None, list[str]]:
    """The checkpoint that a run resumes from, and what is printed about others."""
    lines: list[str] = []
    return folder.find_checkpoint(lines.append), lines


def test_last_and_previous_checkpoint_are_loaded(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert found(folder) == (None, [])
    for step in (1, 2, 3):
        last = save(folder, global_step=step)
    assert sorted(folder.checkpoints.iterdir()) == [folder.last_checkpoint, folder.previous_checkpoint]
    loaded = AtomicCheckpointIO().load_checkpoint(last)
    assert torch.equal(loaded["images"], CHECKPOINT["images"])
    assert (loaded["global_step"], loaded["zeta_used"]) == (3, [[1, 2]])
    assert AtomicCheckpointIO().load_checkpoint(folder.previous_checkpoint)["global_step"] == 2
    assert found(folder) == (last, [])


def test_damaged_checkpoints_fall_back_to_the_previous_one(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    save(folder, global_step=1)
    last = save(folder, global_step=2)
    whole = last.read_bytes()
    damaged = [whole[:length] for length in range(0, len(whole), BLOCK)]
    assert len(damaged) > 25
    rng = random.Random(0)
    for bit in rng.sample(range(8 * len(whole)), FLIPS):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(flipped))
    for content in damaged:
        last.write_bytes(content)
        line = f"{last}: damaged, or not a checkpoint of gmlight; using the previous checkpoint"
        assert found(folder) == (folder.previous_checkpoint, [line])
    shutil.copy(last, folder.previous_checkpoint)
    with pytest.raises(ConfigError, match=r"no checkpoint can be read, start a new run"):
        found(folder)


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("signed", [True, False])
def test_malicious_pickle_runs_no_code(tmp_path: Path, signed: bool) -> None:
    folder, done = RunFolder(tmp_path), tmp_path / "done"
    if signed:
        save(folder, extra=Evil(done))
    else:
        folder.checkpoints.mkdir()
        torch.save({"extra": Evil(done)}, folder.last_checkpoint)
    with pytest.raises(ConfigError, match="no checkpoint can be read"):
        found(folder)
    assert not done.exists()


def test_full_disk_leaves_the_old_checkpoint_intact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path)
    last = save(folder, global_step=1)
    before = last.read_bytes()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(ConfigError, match=r"cannot write .*last.ckpt: 0.0 MiB are free, 0.1 are needed"):
        save(folder, global_step=2)
    monkeypatch.undo()

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(
        ConfigError,
        match=r"cannot write .*last.ckpt: No space left on device; make room and go on with resume=",
    ):
        save(folder, global_step=2)
    assert last.read_bytes() == before
    assert list(folder.checkpoints.iterdir()) == [last]


def test_checkpoint_on_a_read_only_disk_does_not_ask_for_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(descriptor: int) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    last = save(RunFolder(tmp_path), global_step=1)
    before = last.read_bytes()
    monkeypatch.setattr(os, "fsync", read_only)
    with pytest.raises(ConfigError, match=r"last.ckpt: Read-only file system; mend that and go on with"):
        save(RunFolder(tmp_path), global_step=2)
    assert last.read_bytes() == before


@pytest.mark.parametrize(
    ("number", "name", "begun", "mend"),
    [
        (errno.ENOSPC, "metrics.csv", True, "make room"),
        (errno.EFBIG, "metrics.csv", True, "make room"),
        (errno.EDQUOT, "../elsewhere", True, "make room"),
        (errno.EROFS, "metrics.csv", True, "mend that"),
        (errno.EACCES, "metrics.csv", True, "mend that"),
        (errno.EIO, "metrics.csv", True, "mend that"),
        (errno.ENOSPC, "metrics.csv", False, None),
        (errno.EACCES, "../elsewhere", True, None),
        (errno.ENOENT, "metrics.csv", True, None),
    ],
)
def test_files_that_cannot_be_written_are_explained_once_the_run_has_begun(
    tmp_path: Path, number: int, name: str, begun: bool, mend: str | None
) -> None:
    folder = RunFolder(tmp_path / "run")
    path = tmp_path / "elsewhere" if name.startswith("..") else folder.path / name
    error = OSError(number, "Why", str(path))
    folder.path.mkdir()
    if begun:
        folder.config.touch()
    with pytest.raises(ConfigError if mend else OSError) as caught, naming_write_errors(folder):
        raise error
    if mend:
        assert str(caught.value) == f"cannot write {path}: Why; {mend} and go on with resume={folder.path}"
    else:
        assert caught.value is error


def test_checkpoint_is_on_the_disk_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path)
    last = save(folder, global_step=1)
    calls: list[tuple[str, str]] = []
    unfinished = "last.ckpt.unfinished"
    fsync, replace = os.fsync, Path.replace

    def noting_fsync(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path.name == unfinished:  # everything is written, nothing is left in a buffer
            assert read_checkpoint(path)["global_step"] == 2  # it checks the hash
        calls.append(("fsync", path.name))
        fsync(descriptor)

    def noting_replace(self: Path, target: Path) -> Path:
        calls.append(("rename", self.name))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(Path, "replace", noting_replace)
    save(folder, global_step=2)
    written, renamed = calls.index(("fsync", unfinished)), calls.index(("rename", unfinished))
    kept = calls.index(("rename", "previous.ckpt.unfinished"))
    assert written < kept < renamed
    assert ("fsync", "checkpoints") in calls[renamed:]
    assert ("fsync", tmp_path.name) in calls[:written]  # the name of the folder itself
    assert last.exists()


@pytest.mark.parametrize(("minutes", "kept"), [(10, 1), (1e-9, 2)])
def test_checkpoint_interval_in_minutes(run: Callable[..., Path], minutes: float, kept: int) -> None:
    folder = RunFolder(run("checkpoint.every=100", f"checkpoint.minutes={minutes}", "evaluation.every=0"))
    names = [folder.last_checkpoint, folder.previous_checkpoint]
    assert sorted(folder.checkpoints.iterdir()) == names[:kept]
    assert AtomicCheckpointIO().load_checkpoint(folder.last_checkpoint)["global_step"] == 4


@pytest.mark.parametrize(
    "content", [[1, 2], {}, {"global_step": "x"}, {"global_step": -1}, {"global_step": True}]
)
def test_other_content_with_the_right_hash_is_refused(content: object, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    AtomicCheckpointIO().save_checkpoint(content, folder.last_checkpoint)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"last\.ckpt: not a checkpoint of gmlight"):
        read_checkpoint(folder.last_checkpoint)
