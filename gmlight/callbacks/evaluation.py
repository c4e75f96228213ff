"""A callback for quick evaluations during condensation, and the logging of all evaluations."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
from rich.console import Console

from gmlight.artifacts.grid import save_grid
from gmlight.artifacts.results import Accuracy, Evaluation
from gmlight.artifacts.run_folder import RunFolder
from gmlight.condensation.condenser import Condenser
from gmlight.data.images import DatasetInfo, LabelledImages
from gmlight.reporting.loggers import log_picture
from gmlight.runtime.console import pluralize
from gmlight.runtime.distributed import ranks
from gmlight.runtime.processes import signals_at_once
from gmlight.runtime.rank import is_main
from gmlight.runtime.signals import Stopped
from gmlight.training.evaluator import Evaluator


class QuickEvaluation(lightning.Callback):
    """Evaluates the synthetic set with a few networks during condensation, except after the last update.

    Saves a picture of the set with each evaluation, and before the first update. If a signal interrupts an
    evaluation, the resumed run repeats it.

    Args:
        evaluator: of the run's architecture.
        every: outer iterations between two evaluations; 0: none.
        networks: number of networks in an evaluation.
        folder: of the run.
        console: gets one line per evaluation.

    Attributes:
        seconds: duration of the evaluations so far, including those before a resume.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        every: int,
        networks: int,
        folder: RunFolder,
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
        if trainer.global_step == 0:
            save_samples(self.folder, 0, module.synthetic.labelled(), self.evaluator.data.info)
        elif t == 0 and not ranks.broadcast(self.folder.samples(done).exists()):
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
                if ranks.size > 1:  # the other ranks wait for this one and must stop too
                    raise
                # Lightning then ends the loop, after this update's metrics are written.
                trainer.should_stop = True

    def _evaluate_if_due(self, trainer: lightning.Trainer, module: Condenser, done: int) -> None:
        due = self.every and done % self.every == 0 and trainer.global_step < trainer.max_steps
        if not due or trainer.should_stop:
            return
        started = time.monotonic()
        images = module.synthetic.labelled()
        try:
            with signals_at_once():
                accuracy = self.evaluator(images, self.networks)
        finally:
            self.seconds += time.monotonic() - started
        info, metrics = self.evaluator.data.info, accuracy_metrics(accuracy)
        record_evaluation(trainer, self.folder, done, images, info, metrics)
        n = pluralize(self.networks, "network")
        protocol = "" if accuracy.protocol == "plain" else f", protocol {accuracy.protocol}"
        self.console.print(f"accuracy {accuracy} % after {pluralize(done, 'iteration')} ({n}{protocol})")


def save_samples(folder: RunFolder, k: int, images: LabelledImages, info: DatasetInfo) -> Path:
    """Saves a picture of the synthetic set in the run folder; only rank 0 writes.

    Args:
        folder: of the run.
        k: outer iterations done, which name the file.
        images: the synthetic set, normalised as `info` says.
        info: of the dataset.

    Returns:
        The picture's path.
    """
    path = folder.samples(k)
    return save_grid(path, images, info) if is_main() else path


def record_evaluation(
    trainer: lightning.Trainer,
    folder: RunFolder,
    k: int,
    images: LabelledImages,
    info: DatasetInfo,
    metrics: dict[str, float],
) -> None:
    """Logs accuracies, and saves a picture of the evaluated set in the folder and on dashboards.

    Args:
        trainer: its loggers get the accuracies and the picture.
        folder: of the run.
        k: outer iterations done.
        images: the evaluated set.
        info: of the set's dataset.
        metrics: accuracies in percent, by logged name.
    """
    for logger in trainer.loggers:
        logger.log_metrics({"iteration": k} | metrics, trainer.global_step)
        logger.save()
    # The picture comes last: if it exists, a resumed run does not repeat the evaluation.
    picture = save_samples(folder, k, images, info)
    log_picture(trainer.loggers, picture, trainer.global_step)


def accuracy_metrics(accuracy: Accuracy, label: str = "") -> dict[str, float]:
    """Names an accuracy for loggers.

    Args:
        accuracy: of an evaluation.
        label: of a set or architecture; empty for the run's set on its first architecture.

    Returns:
        `accuracy/mean` and `accuracy/std`, or `accuracy/<label>/mean` and `accuracy/<label>/std`, in percent.
    """
    prefix = f"accuracy/{label}/" if label else "accuracy/"
    return {f"{prefix}mean": accuracy.mean, f"{prefix}std": accuracy.std}


def metrics_of_all(evaluations: Sequence[Evaluation]) -> dict[str, float]:
    """Names the accuracies of a final evaluation for loggers.

    Args:
        evaluations: of the run's set on its first architecture, then others. The label of another evaluation
            is the first word of its set's name, its architecture, or both, if they differ from the first.

    Returns:
        Accuracies in percent, by logged name.
    """
    first, *others = evaluations
    metrics = accuracy_metrics(first.accuracy)
    for other in others:
        label = [other.name.split()[0]] * (other.name != first.name)
        label += [other.architecture] * (other.architecture != first.architecture)
        metrics |= accuracy_metrics(other.accuracy, "/".join(label))
    return metrics
