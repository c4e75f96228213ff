"""A callback that updates the run's page."""

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import lightning
from rich.console import Console

from gmlight.artifacts.record import RunRecord
from gmlight.artifacts.run_folder import RunFolder
from gmlight.errors import ConfigError
from gmlight.reporting.data_table import DataTable, describe_counts
from gmlight.reporting.run_page import State, write_run_page
from gmlight.runtime.processes import LostProcessError
from gmlight.runtime.rank import is_main
from gmlight.runtime.signals import Stopped

PAGE_SECONDS = 600
RETRY_SECONDS = 60  # after a page that could not be written


class RunPage(lightning.Callback):
    """Writes the run's page at each evaluation and every `PAGE_SECONDS` seconds; only rank 0 writes.

    Args:
        folder: of the run.
        record: of the run.
        classes: class names, by label.
        console: gets a line if a page cannot be written.
        describe_data: returns what was read of the dataset; None: unknown.
    """

    def __init__(
        self,
        folder: RunFolder,
        record: RunRecord,
        classes: Sequence[str],
        console: Console,
        describe_data: Callable[[], DataTable | None] = lambda: None,
    ) -> None:
        self.folder, self.record, self.classes, self.console = folder, record, classes, console
        self.describe_data = describe_data
        self.iterations: int = record.config["iterations"]
        self.updates: int = record.config["updates"]
        self._done = 0  # outer iterations
        self._due = math.inf  # time of the next page; infinite before the first one

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
        if evaluated or time.monotonic() > self._due:
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
            if self._due < math.inf:
                reason = error.line(self.folder.path) if isinstance(error, Stopped) else str(error)
                self._write("stopped", reason=reason)
                if isinstance(error, LostProcessError) and not is_main():
                    with (
                        suppress(ConfigError),
                        self.folder.locked(),
                    ):  # only rank 0 locks it: it is the lost one
                        self._write_page(State("stopped", self._done, self.iterations, reason=reason))
            raise

    def show_lost_process(self) -> None:
        """Shows and prints that another process of the run is lost."""
        error = LostProcessError(self.folder.path)
        self._write("stopped", reason=str(error))
        print(f"gmlight: {error}", file=sys.stderr)

    def _show_condensing(self, trainer: lightning.Trainer) -> None:
        elapsed, steps = time.monotonic() - self._started, trainer.global_step - self._first
        left = elapsed / steps * (self.iterations * self.updates - trainer.global_step) if steps else None
        self._write("condensing", elapsed, left)

    def _write(
        self, name: str, elapsed: float | None = None, left: float | None = None, reason: str = ""
    ) -> None:
        state = State(name, self._done, self.iterations, elapsed, left, reason)
        written = not is_main() or self._write_page(state)
        self._due = time.monotonic() + (PAGE_SECONDS if written else RETRY_SECONDS)

    def _write_page(self, state: State) -> bool:
        try:
            write_run_page(self.folder, self.record, self.classes, state, self.describe_data())
        except Exception as error:  # a failing page must not end the run
            self.console.print(f"{self.folder.page.name} cannot be written: {error!r}", soft_wrap=True)
            return False
        return True


def mend_page(folder: RunFolder, record: RunRecord, console: Console) -> None:
    """Writes the page of a finished run if that failed at the run's end; only rank 0 writes.

    Args:
        folder: of a run.
        record: of the run.
        console: gets a line if the page cannot be written.
    """
    page, result = folder.page, folder.result
    missing = result.exists() and not (page.exists() and page.stat().st_mtime_ns >= result.stat().st_mtime_ns)
    if not missing or not is_main():
        return
    data: Any = folder.read_result().get("data")  # older results lack it
    classes = record.config["dataset"]["classes"]

    def describe() -> DataTable | None:
        if data is None:
            return None
        with suppress(ValueError):  # of a stranger: another number of classes
            return describe_counts(classes, data["train"]["counts"], data["test"]["counts"])
        return None

    with suppress(ConfigError), folder.locked():  # a run in progress writes its page itself
        RunPage(folder, record, classes, console, describe).show_finished()
