"""A callback that shows the progress of condensation."""

import time
from typing import Any

import lightning
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from gmlight.runtime.console import format_duration
from gmlight.runtime.progress import PLAIN_SECONDS

PLAIN_LINES = 20  # per run, if the output is not a terminal
BAR_SECONDS = 0.25  # between two updates of a live bar, because reading the loss waits for the device


class ProgressBar(lightning.Callback):
    """Shows k/K, t/T, the matching loss and times: as a live bar on a terminal, else as plain lines.

    Args:
        iterations: number of outer iterations, K.
        updates: image updates per outer iteration, T.
        console: where to print.
    """

    def __init__(self, iterations: int, updates: int, console: Console) -> None:
        self.iterations, self.updates, self.console = iterations, updates, console
        self._every = max(1, iterations // PLAIN_LINES)
        self._bar: Progress | None = None

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._started = self._last_line = time.monotonic()
        self._first = trainer.global_step
        if self.console.is_terminal:
            self._bar = Progress(
                TextColumn("condensing"),
                BarColumn(bar_width=None),
                TextColumn("{task.fields[state]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(elapsed_when_finished=False),
                console=self.console,
                refresh_per_second=4,
            )
            total = self.iterations * self.updates
            self._task = self._bar.add_task("", total=total, completed=self._first, state="")
            self._bar.start()

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        k, t, now = batch.k + 1, batch.t + 1, time.monotonic()
        if self._bar is not None:
            if now - self._last_line > BAR_SECONDS or trainer.global_step == trainer.max_steps:
                self._last_line = now
                self._bar.update(self._task, completed=trainer.global_step, state=self._state(trainer, k, t))
            return
        milestone = t == self.updates and (k % self._every == 0 or k == self.iterations)
        if milestone or now - self._last_line > PLAIN_SECONDS:
            self._last_line = now
            elapsed = now - self._started
            done = trainer.global_step - self._first
            left = elapsed / done * (self.iterations * self.updates - trainer.global_step)
            times = f"{format_duration(elapsed)} elapsed, {format_duration(left)} left"
            self.console.print(f"condensing  {self._state(trainer, k, t)}  {times}")

    def on_exception(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, exception: BaseException
    ) -> None:
        self._stop()

    def teardown(self, trainer: lightning.Trainer, module: lightning.LightningModule, stage: str) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _state(self, trainer: lightning.Trainer, k: int, t: int) -> str:
        loss = trainer.callback_metrics["matching_loss/total"].item()
        return f"k {k}/{self.iterations}  t {t}/{self.updates}  loss {loss:.4g}"
