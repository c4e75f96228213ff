"""Progress of condensation without a terminal, at times by hand."""

import io
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from gmlight.callbacks import progress_bar
from gmlight.callbacks.progress_bar import ProgressBar


class Run:
    """A run of K iterations of T updates, whose clock is turned by hand."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, iterations: int, updates: int, first: int = 0
    ) -> None:
        self.now, self.page = 1000.0, io.StringIO()
        monkeypatch.setattr(progress_bar.time, "monotonic", lambda: self.now)
        self.trainer = SimpleNamespace(
            global_step=first,
            max_steps=iterations * updates,
            callback_metrics={"matching_loss/total": torch.tensor(12.345)},
        )
        self.bar = ProgressBar(iterations, updates, Console(file=self.page, width=200))
        self.bar.on_train_start(self.trainer, None)  # type: ignore[arg-type]

    def update(self, k: int, t: int, seconds: float) -> str:
        """Ends an update some seconds after the one before; returns what is printed."""
        self.now += seconds
        self.trainer.global_step += 1
        before = len(self.page.getvalue())
        batch = SimpleNamespace(k=k, t=t)
        self.bar.on_train_batch_end(self.trainer, None, None, batch, 0)  # type: ignore[arg-type]
        return self.page.getvalue()[before:]


def test_a_line_says_where_the_run_is_and_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three of twelve updates in 60 seconds: 180 are left."""
    monkeypatch.setattr(progress_bar, "PLAIN_LINES", 2)  # of four iterations: one line in two of them
    run = Run(monkeypatch, iterations=4, updates=3)
    assert [run.update(0, 0, 10), run.update(0, 1, 10)] == ["", ""]
    assert run.update(0, 2, 9) == ""  # not a second iteration
    assert run.update(1, 0, 31) == "condensing  k 2/4  t 1/3  loss 12.35  0:01:00 elapsed, 0:02:00 left\n"
    assert run.update(1, 1, 5) == ""
    assert run.update(1, 2, 25) == "condensing  k 2/4  t 3/3  loss 12.35  0:01:30 elapsed, 0:01:30 left\n"
    assert run.update(2, 0, 5) == ""
    run.trainer.global_step = 11
    assert "k 4/4  t 3/3  loss 12.35  0:01:40 elapsed, 0:00:00 left" in run.update(3, 2, 5)


def test_a_resumed_run_counts_its_own_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    """From update 8 of 12, two updates in 40 seconds: two are left."""
    monkeypatch.setattr(progress_bar, "PLAIN_LINES", 20)
    run = Run(monkeypatch, iterations=6, updates=2, first=8)
    run.update(4, 0, 20)
    assert "k 5/6  t 2/2  loss 12.35  0:00:40 elapsed, 0:00:40 left" in run.update(4, 1, 20)


def test_the_last_iteration_has_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_bar, "PLAIN_LINES", 2)
    run = Run(monkeypatch, iterations=5, updates=1)
    lines = [run.update(k, 0, 1) for k in range(5)]
    assert [bool(line) for line in lines] == [False, True, False, True, True]
