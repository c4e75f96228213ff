"""What happens around the training step: progress, and evaluations on the way."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import lightning
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from gmlight.condenser import Condenser
from gmlight.data import CondensationData, LabelledImages, TrainingSet
from gmlight.distributed import is_main, ranks
from gmlight.evaluation import Accuracy, Evaluator
from gmlight.interruption import Stopped, interruption
from gmlight.journal import Journal
from gmlight.loggers import log_picture
from gmlight.memory import peak_bytes
from gmlight.page import PAGE, State, write_run_page
from gmlight.pictures import save_grid
from gmlight.progress import PLAIN_SECONDS, shown
from gmlight.results import Row, clock, counted

PLAIN_LINES = 20  # of progress, where the output is no terminal
PAGE_SECONDS = 600
BAR_SECONDS = 0.25  # between two states of a live bar: to read a loss is to wait for the device


class ProgressBar(lightning.Callback):
    """k/K, t/T, matching loss, elapsed and remaining time: a live bar, or plain lines without a terminal."""

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
            times = f"{clock(elapsed)} elapsed, {clock(left)} left"
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


_AVERAGED = {"matching_loss/total", "matching_loss/intra", "matching_loss/inter", "zeta"}


class MetricsLines(lightning.Callback):
    """A line in every logger every so many image updates.

    matching_loss/total, intra, inter and zeta are means over the updates since the line before, for they
    differ from t to t; all else that the module has measured is of the update of the line, t of iteration.
    speed/iterations_per_second: outer iterations, since the line before. memory/peak_gib: allocated on the
    device, or taken by the process on a CPU. Lightning's own logging would repeat what was measured at an
    earlier update.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self._sums: dict[str, Tensor | float] = {}
        self._counts: dict[str, int] = {}

    def state_dict(self) -> dict[str, Any]:
        return {"sums": {name: float(value) for name, value in self._sums.items()}, "counts": self._counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._sums, self._counts = state["sums"], state["counts"]

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._since, self._step = time.monotonic(), trainer.global_step

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        assert isinstance(module, Condenser)
        if not trainer.loggers:
            return
        for name in _AVERAGED & module.metrics.keys():
            self._sums[name] = self._sums.get(name, 0.0) + module.metrics[name]
            self._counts[name] = self._counts.get(name, 0) + 1
        step = trainer.global_step
        if step % self.every:
            return
        metrics = {name: value.item() for name, value in module.metrics.items() if name not in _AVERAGED}
        metrics |= {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        now = time.monotonic()
        metrics |= {
            "iteration": batch.k + 1,
            "t": batch.t,
            "speed/iterations_per_second": (step - self._step) / module.updates / (now - self._since),
            "memory/peak_gib": peak_bytes(module.device) / 2**30,
        }
        self._since, self._step, self._sums, self._counts = now, step, {}, {}
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step - 1)  # the update's number, from 0


class QuickEvaluation(lightning.Callback):
    """Evaluates a few networks every so many outer iterations (0: never), but not after the last one.

    An evaluation that a signal cuts short is made again where the run goes on from there.

    Attributes:
        seconds: what the evaluations have taken so far.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        every: int,
        networks: int,
        folder: Path,
        console: Console,
    ) -> None:
        self.evaluator, self.every, self.networks = evaluator, every, networks
        self.folder, self.console = folder, console
        self.seconds = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seconds = state["seconds"]

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        assert isinstance(module, Condenser)
        done, t = divmod(trainer.global_step, module.updates)
        if done and t == 0 and not ranks.agree(samples_path(self.folder, done).exists()):
            self._evaluate_if_due(trainer, module, done)

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        assert isinstance(module, Condenser)
        if batch.t == module.updates - 1:
            try:
                self._evaluate_if_due(trainer, module, batch.k + 1)
            except Stopped:
                if ranks.size > 1:  # the others wait for this one: they are ended with it
                    raise
                # In good order: what this update has logged is still to be written.
                trainer.should_stop = True

    def _evaluate_if_due(self, trainer: lightning.Trainer, module: Condenser, done: int) -> None:
        due = self.every and done % self.every == 0 and trainer.global_step < trainer.max_steps
        if not due or trainer.should_stop:
            return
        started = time.monotonic()
        images = module.synthetic.labelled()
        try:
            # Several processes evaluate together, and none of them may leave while there is time.
            with interruption.at_once() if ranks.size == 1 else nullcontext():
                accuracy = self.evaluator(images, self.networks)
        finally:
            self.seconds += time.monotonic() - started
        record_evaluation(trainer, self.folder, done, images, self.evaluator.data, accuracy_metrics(accuracy))
        n = counted(self.networks, "network")
        protocol = "" if accuracy.protocol == "plain" else f", protocol {accuracy.protocol}"
        self.console.print(f"accuracy {accuracy} % after {done} iterations ({n}{protocol})")


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


def evaluate_sets(
    evaluators: dict[str, Evaluator],
    sets: Sequence[tuple[str, TrainingSet, int]],
    console: Console,
    journal: Journal | None = None,
) -> list[Row]:
    """Accuracies of each (name, training set, number of networks) on each architecture, with progress.

    Args:
        journal: keeps each accuracy, and knows those of an evaluation that was cut short.
    """
    rows = []
    for name, images, networks in sets:
        for architecture, evaluator in evaluators.items():
            doing = f"evaluating {name} on {architecture}"
            with shown(doing, "network", networks, console) as progress:
                known = None if journal is None else journal.accuracies(name, images, architecture)
                accuracy = evaluator(images, networks, progress, known)
            rows.append(Row(name, len(images), 4 * images.floats, architecture, accuracy))
    return rows


def samples_path(folder: Path, iteration: int) -> Path:
    """Where the picture of S after so many outer iterations is."""
    return folder / "samples" / f"{iteration:05d}.png"


def save_samples(folder: Path, iteration: int, images: LabelledImages, data: CondensationData) -> Path:
    """The picture of S after so many outer iterations, in the run folder's samples/."""
    path = samples_path(folder, iteration)
    if not is_main():
        return path
    return save_grid(path, images.images, images.labels, data.classes, data.mean, data.std)


def record_evaluation(
    trainer: lightning.Trainer,
    folder: Path,
    iteration: int,
    images: LabelledImages,
    data: CondensationData,
    accuracies: dict[str, float],
) -> None:
    """A picture in samples/, a line in every logger, and the picture in those that take pictures."""
    for logger in trainer.loggers:
        logger.log_metrics({"iteration": iteration} | accuracies, trainer.global_step)
        logger.save()
    picture = save_samples(folder, iteration, images, data)  # the last: it says that this was done
    log_picture(trainer.loggers, picture, trainer.global_step)


def accuracy_metrics(accuracy: Accuracy, what: str = "") -> dict[str, float]:
    """accuracy/mean and accuracy/std, of S on its first architecture; or accuracy/<what>/mean and its std."""
    prefix = f"accuracy/{what}/" if what else "accuracy/"
    return {f"{prefix}mean": accuracy.mean, f"{prefix}std": accuracy.std}


def all_accuracies(rows: list[Row]) -> dict[str, float]:
    """Of every row: S on its first architecture, S on others, other sets such as random on all of them."""
    own, *others = rows
    metrics = accuracy_metrics(own.accuracy)
    for row in others:
        same = row.architecture == own.architecture
        words = [row.name.split()[0]] * (row.name != own.name) + [row.architecture] * (not same)
        metrics |= accuracy_metrics(row.accuracy, "/".join(words))
    return metrics
