"""When a checkpoint is due: counts by hand."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gmlight.artifacts.run_folder import RunFolder
from gmlight.callbacks import checkpoints
from gmlight.callbacks.checkpoints import Checkpoints
from helpers.condensers import condenser
from helpers.problems import random_images


@pytest.mark.parametrize(
    ("every", "evaluate_every", "minutes", "saved"),
    [
        (2, 0, 1e9, [4, 8, 12, 14]),  # after every second of seven iterations of two updates, and at the end
        (3, 2, 1e9, [4, 6, 8, 12, 14]),  # and before evaluations
        (0, 0, 1e9, [14]),
        (0, 0, 5, [6, 12, 14]),  # an update takes a minute: more than five minutes after the last one
    ],
)
def test_updates_with_a_checkpoint(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    every: int,
    evaluate_every: int,
    minutes: float,
    saved: list[int],
) -> None:
    found, now = [], [0.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    trainer: Any = SimpleNamespace(global_step=0, max_steps=14, should_stop=False)
    trainer.save_checkpoint = lambda path: found.append((trainer.global_step, path, callback.seconds))
    module = condenser(random_images(3, 1, 2, 8, 8), 2, [1])
    callback = Checkpoints(RunFolder(tmp_path), every, evaluate_every, minutes)
    callback.load_state_dict({"seconds": 1000.0})
    callback.on_train_start(trainer, module)
    for step in range(14):
        now[0] += 60
        trainer.global_step = step + 1
        callback.on_train_batch_end(trainer, module, None, SimpleNamespace(k=step // 2, t=step % 2), step)
    path = RunFolder(tmp_path).last_checkpoint
    assert found == [(step, path, 1000 + step * 60) for step in saved]
    assert callback.seconds == 1000 + 14 * 60
