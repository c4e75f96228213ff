"""What the stored configuration of a set becomes on this machine."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gmlight.config.stored import stored_configuration


def test_the_data_folder_of_this_machine_wins(
    run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GMLIGHT_DATA_DIR", raising=False)
    folder = run("iterations=0", "initialization=real", f"data_dir={tmp_path / 'theirs'}")
    assert stored_configuration([f"run={folder}"])["data_dir"] == str(tmp_path / "theirs")
    monkeypatch.setenv("GMLIGHT_DATA_DIR", "/mine")
    assert stored_configuration([f"run={folder}"])["data_dir"] == "/mine"


def test_another_augmentation_may_set_the_epochs(run: Callable[..., Path]) -> None:
    folder = run("iterations=0", "initialization=real")
    stored = stored_configuration([f"run={folder}"])["evaluation"]["epochs"]
    assert stored_configuration([f"run={folder}", "evaluation.lr=0.1"])["evaluation"]["epochs"] == stored
    chosen = stored_configuration([f"run={folder}", "augmentation=dsa"])["evaluation"]["epochs"]
    assert isinstance(stored, int)
    assert "augmentation.evaluation_epochs" in chosen  # an expression of the protocol
