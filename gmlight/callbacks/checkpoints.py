"""A callback that saves checkpoints."""

import signal
import time
from typing import Any

import lightning

from gmlight.artifacts.run_folder import RunFolder
from gmlight.condensation.condenser import Condenser
from gmlight.runtime.distributed import ranks
from gmlight.runtime.signals import Stopped, signal_handler


class Checkpoints(lightning.Callback):
    """Saves a checkpoint at intervals, before evaluations, at the end, and when a signal arrives.

    Args:
        folder: of the run.
        every: outer iterations between two checkpoints; 0: none.
        evaluate_every: outer iterations between two evaluations; 0: none.
        minutes: longest time between two checkpoints.

    Attributes:
        seconds: duration of condensing so far, including the time before a resume.
        started: whether the first update has begun, or the first after a resume.
    """

    def __init__(self, folder: RunFolder, every: int, evaluate_every: int, minutes: float) -> None:
        self.path, self.minutes = folder.last_checkpoint, minutes
        self.every = [number for number in (every, evaluate_every) if number]
        self.seconds, self.started = 0.0, False
        self._saved_step = 0
        self._updating = True  # whether the state is that of no complete update; True before the first one

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seconds = state["seconds"]

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        signal_handler.reinstall()
        self.started = True
        self._counted = self._saved = time.monotonic()
        self._saved_step = trainer.global_step

    def on_train_batch_start(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._updating = True

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        assert isinstance(module, Condenser)
        self._updating = False
        last_update = batch.t == module.updates - 1
        due = last_update and any((batch.k + 1) % number == 0 for number in self.every)
        late = time.monotonic() - self._saved > 60 * self.minutes
        stopped, late = ranks.any([signal_handler.signum is not None, late], module.device)
        if due or late or stopped or trainer.global_step == trainer.max_steps:
            self.save(trainer)
        if stopped:  # Lightning then ends the loop, after this update's metrics are written
            signal_handler.signum = signal_handler.signum or signal.SIGTERM  # another rank got the signal
            trainer.should_stop = True

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._count()

    def on_exception(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, exception: BaseException
    ) -> None:
        # A signal may end a long draw of real images, between two updates. Ranks cannot save one by one.
        unsaved = not self._updating and trainer.global_step > self._saved_step
        if isinstance(exception, Stopped) and unsaved and ranks.size == 1:
            self.save(trainer)

    def save(self, trainer: lightning.Trainer) -> None:
        """Saves a checkpoint now."""
        self._count()
        trainer.save_checkpoint(self.path)
        self._saved, self._saved_step = time.monotonic(), trainer.global_step

    def _count(self) -> None:
        now = time.monotonic()
        self.seconds += now - self._counted
        self._counted = now
