"""A callback that updates the run's page."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning
from rich.console import Console

from gmlight.artifacts.record import RunRecord
from gmlight.artifacts.run_folder import RunFolder
from gmlight.data.datamodule import CondensationData
from gmlight.reporting.data_table import describe_data
from gmlight.reporting.run_page import State, write_run_page
from gmlight.runtime.rank import is_main
from gmlight.runtime.signals import Stopped

PAGE_SECONDS = 600


class RunPage(lightning.Callback):
    """Writes the run's page at each evaluation and every `PAGE_SECONDS` seconds; only rank 0 writes.

    Args:
        folder: of the run.
        record: of the run.
        data: of the run, loaded before the page is first written.
        console: gets a line if a page cannot be written.
    """

    def __init__(
        self, folder: RunFolder, record: RunRecord, data: CondensationData, console: Console
    ) -> None:
        self.folder, self.record, self.data, self.console = folder, record, data, console
        self.iterations: int = record.config["iterations"]
        self.updates: int = record.config["updates"]
        self._done = 0  # outer iterations
        self._written = -math.inf

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._started, self._first = time.monotonic(), trainer.global_step
        self._done = trainer.global_step // self.updates
        self._show_condensing(trainer)

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._done, t = divmod(trainer.global_step, self.updates)
        evaluated = t == 0 and self.folder.samples(self._done).exists()
        if evaluated or time.monotonic() - self._written > PAGE_SECONDS:
            self._show_condensing(trainer)

    def show_evaluating(self) -> None:
        """Shows that the set is condensed and the final evaluation has begun."""
        self._done = self.iterations
        self._write("evaluating")

    def show_finished(self) -> None:
        """Shows that the run is finished; call it after the result is written."""
        self._done = self.iterations
        self._write("finished")

    @contextmanager
    def showing_errors(self) -> Iterator[None]:
        """Shows the error or signal that ends the block, if there is a page already."""
        try:
            yield
        except BaseException as error:
            if self._written > -math.inf:
                reason = error.line(self.folder.path) if isinstance(error, Stopped) else str(error)
                self._write("stopped", reason=reason)
            raise

    def _show_condensing(self, trainer: lightning.Trainer) -> None:
        elapsed, steps = time.monotonic() - self._started, trainer.global_step - self._first
        left = elapsed / steps * (self.iterations * self.updates - trainer.global_step) if steps else None
        self._write("condensing", elapsed, left)

    def _write(
        self, name: str, elapsed: float | None = None, left: float | None = None, reason: str = ""
    ) -> None:
        self._written = time.monotonic()
        if not is_main():
            return
        state = State(name, self._done, self.iterations, elapsed, left, reason)
        try:
            write_run_page(self.folder, self.record, self.data.classes, state, describe_data(self.data))
        except Exception as error:  # a failing page must not end the run
            self.console.print(f"{self.folder.page.name} cannot be written: {error!r}", soft_wrap=True)
