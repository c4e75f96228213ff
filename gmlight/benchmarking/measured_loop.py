"""A callback that runs and measures outer iterations on request."""

from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import lightning
from omegaconf import DictConfig

from gmlight.artifacts.results import images_per_class
from gmlight.benchmarking.textbook import Measurement
from gmlight.condensation.condenser import Condenser
from gmlight.condensation.image_updates import ImageUpdates
from gmlight.data.images import RealBatch, class_sizes
from gmlight.runtime.profiling import PartTimer, Stopwatch


class MeasuredLoop(lightning.Callback):
    """Runs one outer iteration for each requested task, and answers other tasks between iterations.

    An iteration includes draws, logging and progress as in a run, but no checkpoints or evaluations.

    Args:
        pipe: receives tasks and sends measurements.
        first: the first task, received already.
        parts: the trainer's profiler.
        config: of the run.

    Attributes:
        others: functions that measure tasks other than iterations, by task.
    """

    def __init__(self, pipe: Connection, first: str, parts: PartTimer, config: DictConfig) -> None:
        self.pipe, self.parts, self._task = pipe, parts, first
        self.others: dict[str, Callable[[], Measurement]] = {}
        synthetic = len(config.dataset.classes) * images_per_class(config)
        in_steps = config.schedule.unit == "steps"
        self._images_per_zeta = min(synthetic, config.train_batch) if in_steps else synthetic
        self._per_class, self._seed = images_per_class(config), config.seed
        self._steps = config.image_steps * len(config.dataset.classes)
        self._updates = ImageUpdates(
            at_once=config.synthetic_batch, prefixes=config.ipc if config.multi_size else 0
        )
        self._mixed = config.image_steps * config.matching.get("mixed_synthetic", 0)

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._start(trainer)

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: RealBatch,
        batch_idx: int,
    ) -> None:
        assert isinstance(module, Condenser)
        mixed = batch.matched is not None
        sizes = [len(batch.matched[1])] if batch.matched else class_sizes(batch.images)
        self._counts["real_images"] += sum(sizes)
        times = 1
        if module.image_updates.by_class and (mixed or module.matcher.needs_every_class(batch.k)):
            times = len(module.matcher.info.classes)
        self._counts["synthetic_images"] += times * (self._mixed if mixed else self._matched(batch))
        if batch.t == module.updates - 1:
            zeta = sum(zetas[-1] for zetas in module.zeta_used)
            counts = self._counts | {"trained_images": zeta * self._images_per_zeta}
            self.pipe.send(self._watch.stop() | counts)
            self._task = self.pipe.recv()
            self._start(trainer)

    def _matched(self, batch: RealBatch) -> int:
        # Synthetic images in the steps of an update.
        drawn = self._updates.draws(1, self._per_class, self._seed, batch.k, batch.t)
        sizes = [self._per_class if chosen is None else chosen.shape[1] for chosen in drawn]
        return self._steps * sum(sizes)

    def _start(self, trainer: lightning.Trainer) -> None:
        while self._task in self.others:
            self.pipe.send(self.others[self._task]())
            self._task = self.pipe.recv()
        trainer.should_stop = self._task == "end"
        self._counts = {"real_images": 0, "synthetic_images": 0}
        self._watch = Stopwatch(self.parts, self._task == "profile")
