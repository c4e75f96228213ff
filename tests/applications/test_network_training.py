"""Which networks are trained, which outcomes are kept, and how long the rest takes."""

import io
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from gmlight.applications import network_training, time_estimate
from gmlight.applications.network_training import NetworkTrainer, NetworkUnit, train_networks
from gmlight.artifacts.work_log import Outcome, WorkLog
from gmlight.runtime.worker_pool import Died


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
