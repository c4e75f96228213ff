"""A checkpoint is whole, or is refused."""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from gmlight.artifacts.checkpoint_io import LAST, PREVIOUS, AtomicCheckpointIO, find_checkpoint
from gmlight.errors import ConfigError

CHECKPOINT = {"images": torch.randn(10, 3, 32, 32), "global_step": 7, "zeta_used": [[1, 2]]}
FLIPS = 200
BLOCK = 4096


def save(folder: Path, **changes: object) -> Path:
    AtomicCheckpointIO().save_checkpoint(CHECKPOINT | changes, folder / LAST)
    return folder / LAST


def test_what_is_saved_is_loaded_and_the_one_before_is_kept(tmp_path: Path) -> None:
    assert find_checkpoint(tmp_path / "checkpoints") == (None, [])
    for step in (1, 2, 3):
        last = save(tmp_path, global_step=step)
    assert sorted(path.name for path in tmp_path.iterdir()) == [LAST, PREVIOUS]
    loaded = AtomicCheckpointIO().load_checkpoint(last)
    assert torch.equal(loaded["images"], CHECKPOINT["images"])
    assert (loaded["global_step"], loaded["zeta_used"]) == (3, [[1, 2]])
    assert AtomicCheckpointIO().load_checkpoint(tmp_path / PREVIOUS)["global_step"] == 2
    assert find_checkpoint(tmp_path) == (last, [])


def test_every_truncation_and_flipped_bit_is_recovered_from_the_one_before(tmp_path: Path) -> None:
    save(tmp_path, global_step=1)
    last = save(tmp_path, global_step=2)
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
        found, lines = find_checkpoint(tmp_path)
        assert found == tmp_path / PREVIOUS
        assert lines == [f"{last}: not a checkpoint as it was written"]
    shutil.copy(last, tmp_path / PREVIOUS)
    with pytest.raises(ConfigError, match=r"no checkpoint can be read, start a new run"):
        find_checkpoint(tmp_path)


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("signed", [True, False])
def test_an_evil_pickle_runs_no_code(tmp_path: Path, signed: bool) -> None:
    done = tmp_path / "done"
    if signed:
        save(tmp_path, extra=Evil(done))
    else:
        torch.save({"extra": Evil(done)}, tmp_path / LAST)
    with pytest.raises(ConfigError, match="no checkpoint can be read"):
        find_checkpoint(tmp_path)
    assert not done.exists()


def test_a_full_disk_leaves_the_old_one_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last = save(tmp_path, global_step=1)
    before = last.read_bytes()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(ConfigError, match=r"cannot write .*last.ckpt: 0.0 MiB are free, 0.1 are needed"):
        save(tmp_path, global_step=2)
    monkeypatch.undo()

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(ConfigError, match=r"cannot write .*last.ckpt: No space left on device; make room"):
        save(tmp_path, global_step=2)
    assert last.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [LAST]


@pytest.mark.parametrize(("minutes", "kept"), [(10, [LAST]), (1e-9, [LAST, PREVIOUS])])
def test_the_interval_in_time(run: Callable[..., Path], minutes: float, kept: list[str]) -> None:
    folder = run("checkpoint.every=100", f"checkpoint.minutes={minutes}", "evaluation.every=0")
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == kept
    assert AtomicCheckpointIO().load_checkpoint(folder / "checkpoints" / LAST)["global_step"] == 4
