"""What gmlight.train measures: seconds of condensing and of evaluations are apart."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gmlight.artifacts.results import Accuracy, Evaluation
from gmlight.artifacts.run_folder import RunFolder
from gmlight.commands import train as command
from gmlight.commands.train import measured
from gmlight.condensation.finiteness import NonFiniteError
from gmlight.data.images import LabelledImages
from gmlight.errors import ConfigError


def test_seconds_of_condensing_leave_out_the_quick_evaluations(tmp_path: Path) -> None:
    callbacks = SimpleNamespace(
        quick_evaluation=SimpleNamespace(seconds=30.0), checkpoints=SimpleNamespace(seconds=100.0)
    )
    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cpu")))
    run: Any = SimpleNamespace(
        callbacks=callbacks, trainer=trainer, condenser=None, folder=RunFolder(tmp_path)
    )
    assert measured(run, 7.0)["seconds"] == {"condensing": 70.0, "evaluation": 37.0}


def test_the_set_gets_its_own_accuracies_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The baselines' belong to the run."""
    stored: list[Any] = []
    published: list[Any] = []
    monkeypatch.setattr(
        command.condensed_set, "update_metadata", lambda path, **new: stored.append((path, new))
    )
    monkeypatch.setattr(command, "record_evaluation", lambda *_: None)
    monkeypatch.setattr(command, "log_artifact", lambda *given: published.append(given[-1]))
    rows = [
        Evaluation(name, 20, 1280, architecture, Accuracy([mean], epochs=3, protocol="plain"))
        for name, architecture, mean in (
            ("condensed", "convnet", 91.0), ("condensed", "mlp", 88.0), ("random", "convnet", 70.0),
        )
    ]  # fmt: skip
    run: Any = SimpleNamespace(
        evaluation=SimpleNamespace(start=SimpleNamespace(name="condensed")), folder=RunFolder(tmp_path),
        record=SimpleNamespace(config={"iterations": 3}), trainer=SimpleNamespace(loggers=[]),
        data=SimpleNamespace(info=None),
    )  # fmt: skip
    command.publish_set(run, LabelledImages(torch.zeros(2, 1, 8, 8), torch.arange(2)), rows)
    ((path, new),) = stored
    assert path == RunFolder(tmp_path).condensed
    assert [(row["architecture"], row["accuracy"]["mean"]) for row in new["evaluations"]] == [
        ("convnet", 91.0), ("mlp", 88.0),
    ]  # fmt: skip
    assert published[0]["mean"] == 91.0


def test_a_set_whose_numbers_went_wrong_is_not_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[Any] = []
    monkeypatch.setattr(command, "save_set", lambda *given, complete: saved.append((given[1:], complete)))

    def fit(*_: object, **__: object) -> None:
        raise NonFiniteError("k=3, t=0: not finite")

    good = SimpleNamespace(labelled=lambda: "images", stored=lambda: "tensors")
    run: Any = SimpleNamespace(
        condenser=SimpleNamespace(last_good=good, synthetic=None), trainer=SimpleNamespace(fit=fit),
        folder=RunFolder(tmp_path), data=None,
    )  # fmt: skip
    with pytest.raises(ConfigError, match="k=3, t=0: not finite; the last good images are in"):
        command.condense(run, None)
    assert saved == [(("images", "tensors"), False)]


def test_a_checkpoint_that_does_not_fit_is_named(tmp_path: Path) -> None:
    """Only until the first update: a later error is one of the program."""

    def fit(*_: object, **__: object) -> None:
        raise RuntimeError("\nsize mismatch for images\nmore")

    checkpoints = SimpleNamespace(started=False)
    run: Any = SimpleNamespace(
        condenser=SimpleNamespace(synthetic=None), trainer=SimpleNamespace(fit=fit), data=None,
        callbacks=SimpleNamespace(checkpoints=checkpoints),
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"last: does not fit the run \(size mismatch for images\); start"):
        command.condense(run, tmp_path / "last")
    with pytest.raises(RuntimeError, match="size mismatch"):
        command.condense(run, None)
    checkpoints.started = True
    with pytest.raises(RuntimeError, match="size mismatch"):
        command.condense(run, tmp_path / "last")
