"""Which networks are trained, which outcomes are kept, and how long the rest takes."""

import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from rich.console import Console

from gmlight.applications import network_training, time_estimate
from gmlight.applications.network_training import NetworkTrainer, NetworkUnit, TrainedOn, train_networks
from gmlight.artifacts.work_log import Outcome, WorkLog
from gmlight.data.digest import DataDigest, SplitDigest
from gmlight.data.images import LabelledImages
from gmlight.runtime.worker_pool import Died
from helpers.runs import composed


class Trainer:
    """Needs no data: a network's accuracy is its width."""

    def __init__(self) -> None:
        self.trained: list[int] = []

    def key(self, unit: NetworkUnit) -> str:
        return f"width {unit.values['width']}"

    def __call__(self, unit: NetworkUnit) -> Outcome:
        self.trained.append(unit.values["width"])
        return Outcome(float(unit.values["width"]), 1.0)

    def settings(self) -> Any:
        return {}, []


def units(*widths: int) -> list[NetworkUnit]:
    return [NetworkUnit({"width": width}, "md", 0) for width in widths]


def train(trainer: Trainer, log: WorkLog, *widths: int, jobs: int = 1) -> list[int]:
    done: list[int] = []
    train_networks(cast(NetworkTrainer, trainer), units(*widths), log, jobs, done.append)
    return done


def test_each_network_is_trained_once(tmp_path: Path) -> None:
    trainer, log = Trainer(), WorkLog(tmp_path)
    assert train(trainer, log, 4, 8, 4)[-1] == 3
    assert trainer.trained == [4, 8]
    train(trainer, WorkLog(tmp_path), 8, 16)
    assert trainer.trained == [4, 8, 16]


def test_a_network_whose_process_was_killed_is_trained_by_the_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(make: Any, settings: Any, work: list[tuple[str, NetworkUnit]], jobs: int) -> Any:
        yield work[0], Outcome(4.0, 1.0)
        yield work[1], Died(-9)

    monkeypatch.setattr(network_training, "work_in_processes", killed)
    log = WorkLog(tmp_path)
    train(Trainer(), log, 4, 8, jobs=2)
    lost = log.get("width 8")
    assert lost is not None  # this command reports it as failed
    assert (lost.accuracy, lost.failure) == (None, "its process was killed, probably for lack of memory")
    again = Trainer()
    train(again, WorkLog(tmp_path), 4, 8)
    assert again.trained == [8]


def test_the_estimate_is_of_the_networks_that_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_estimate, "_seconds", lambda trainer, unit: 10.0 * unit.values["width"])
    log, screen = WorkLog(tmp_path), io.StringIO()
    log.add("width 2", Outcome(2.0, 1.0))
    trainer = cast(NetworkTrainer, Trainer())
    console = Console(file=screen, width=200)
    time_estimate.print_estimate(trainer, units(2, 4, 8), log, 2, console)  # (40 + 80) / 2 processes
    assert "networks   3, of which 1 are trained already" in screen.getvalue()
    assert "training   0:01:00, from 2 networks; in 2 processes" in screen.getvalue()


def test_everything_that_an_accuracy_depends_on_is_in_the_key() -> None:
    small = TrainedOn("md", LabelledImages(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1])), 5)
    info = SimpleNamespace(digest=DataDigest(SplitDigest("a", [2]), SplitDigest("b", [1])))

    def key(
        *words: str,
        on: TrainedOn = small,
        values: dict[str, Any] | None = None,
        network: int = 0,
        **data: Any,
    ) -> str:
        source: Any = SimpleNamespace(info=data.get("info", info))
        trainer = NetworkTrainer(composed("dataset=digits", *words), [on], source)
        return trainer.key(NetworkUnit(values or {}, on.name, network))

    others = [
        key("seed=1"), key("architecture.width=8"), key("augmentation=dsa"), key("evaluation.lr=0.02"),
        key("evaluation.weight_decay=0"), key(values={"architecture.depth": 1}), key(network=1),
        key(on=replace(small, epochs=6)), key(on=replace(small, epoch_images=7)),
        key(on=replace(small, images=None)),
        key(on=replace(small, images=LabelledImages(torch.ones(2, 1, 8, 8), torch.tensor([0, 1])))),
        key(info=SimpleNamespace(digest=DataDigest(SplitDigest("a", [2]), SplitDigest("c", [1])))),
    ]  # fmt: skip
    assert len({key(), *others}) == len(others) + 1
    assert key("evaluation.test_batch=7", "evaluation.networks=3") == key()
    assert key(on=replace(small, name="mda")) == key()
