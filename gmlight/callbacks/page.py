"""Keeps the run's page up to date."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
from rich.console import Console

from gmlight.callbacks.evaluation import samples_path
from gmlight.reporting.run_page import PAGE, State, write_run_page
from gmlight.runtime.distributed import is_main
from gmlight.runtime.signals import Stopped

PAGE_SECONDS = 600


class RunPage(lightning.Callback):
    """Keeps the run's report.html up to date: at each evaluation, and every `PAGE_SECONDS` between."""

    def __init__(
        self,
        folder: Path,
        record: dict[str, Any],
        classes: Sequence[str],
        iterations: int,
        updates: int,
        console: Console,
    ) -> None:
        self.folder, self.record, self.classes = folder, record, classes
        self.iterations, self.updates, self.console = iterations, updates, console
        self._done = 0
        self._written = -math.inf

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._started, self._first = time.monotonic(), trainer.global_step
        self._done = trainer.global_step // self.updates
        self._write_on_the_way(trainer)

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._done, t = divmod(trainer.global_step, self.updates)
        evaluated = t == 0 and samples_path(self.folder, self._done).exists()
        if evaluated or time.monotonic() - self._written > PAGE_SECONDS:
            self._write_on_the_way(trainer)

    def evaluate(self) -> None:
        """What is left is the evaluation at the end."""
        self._done = self.iterations
        self._write("evaluating")

    def finish(self) -> None:
        """Everything is written down."""
        self._done = self.iterations
        self._write("finished")

    @contextmanager
    def saying_why(self) -> Iterator[None]:
        """What ends the run inside is said on the page, if there is one."""
        try:
            yield
        except BaseException as error:
            if self._written > -math.inf:
                said = f"{error.line(self.folder)}" if isinstance(error, Stopped) else str(error)
                self._write("stopped", said=said)
            raise

    def _write_on_the_way(self, trainer: lightning.Trainer) -> None:
        elapsed, steps = time.monotonic() - self._started, trainer.global_step - self._first
        left = elapsed / steps * (self.iterations * self.updates - trainer.global_step) if steps else None
        self._write("condensing", elapsed, left)

    def _write(
        self, name: str, elapsed: float | None = None, left: float | None = None, said: str = ""
    ) -> None:
        self._written = time.monotonic()
        if not is_main():
            return
        state = State(name, self._done, self.iterations, elapsed, left, said)
        try:
            write_run_page(self.folder, self.record, self.classes, state)
        except Exception as error:  # a page is not worth a run
            self.console.print(f"{PAGE} cannot be made: {error!r}", soft_wrap=True)
