"""What gmlight.train measures: seconds of condensing and of evaluations are apart."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from gmlight.artifacts.run_folder import RunFolder
from gmlight.commands.train import measured


def test_seconds_of_condensing_leave_out_the_quick_evaluations(tmp_path: Path) -> None:
    callbacks = SimpleNamespace(
        quick_evaluation=SimpleNamespace(seconds=30.0), checkpoints=SimpleNamespace(seconds=100.0)
    )
    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cpu")))
    run: Any = SimpleNamespace(
        callbacks=callbacks, trainer=trainer, condenser=None, folder=RunFolder(tmp_path)
    )
    assert measured(run, 7.0)["seconds"] == {"condensing": 70.0, "evaluation": 37.0}
