"""Quick evaluations during condensation, and the record of each evaluation."""

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning
from rich.console import Console

from gmlight.artifacts.grid import save_grid
from gmlight.artifacts.results import Accuracy, Row
from gmlight.condensation.condenser import Condenser
from gmlight.data.datamodule import CondensationData
from gmlight.data.images import LabelledImages
from gmlight.reporting.loggers import log_picture
from gmlight.runtime.console import pluralize
from gmlight.runtime.distributed import is_main, ranks
from gmlight.runtime.signals import Stopped, signal_handler
from gmlight.training.evaluator import Evaluator


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
        if done and t == 0 and not ranks.broadcast(samples_path(self.folder, done).exists()):
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
            with signal_handler.immediate() if ranks.size == 1 else nullcontext():
                accuracy = self.evaluator(images, self.networks)
        finally:
            self.seconds += time.monotonic() - started
        record_evaluation(trainer, self.folder, done, images, self.evaluator.data, accuracy_metrics(accuracy))
        n = pluralize(self.networks, "network")
        protocol = "" if accuracy.protocol == "plain" else f", protocol {accuracy.protocol}"
        self.console.print(f"accuracy {accuracy} % after {done} iterations ({n}{protocol})")


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
