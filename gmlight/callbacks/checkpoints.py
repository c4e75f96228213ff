"""When a checkpoint is written."""

import signal
import time
from pathlib import Path
from typing import Any

import lightning

from gmlight.artifacts.checkpoint_io import LAST
from gmlight.condensation.condenser import Condenser
from gmlight.runtime.distributed import ranks
from gmlight.runtime.signals import signal_handler


class Checkpoints(lightning.Callback):
    """last.ckpt every so many outer iterations, every so many minutes, at the end, and where a signal asks.

    Args:
        every: outer iterations; evaluate_every: likewise, of evaluations, before each of which one is due.

    Attributes:
        seconds: that condensing has taken in all, those before a resume included.
    """

    def __init__(self, folder: Path, every: int, evaluate_every: int, minutes: float) -> None:
        self.path, self.minutes = folder / LAST, minutes
        self.every = [number for number in (every, evaluate_every) if number]
        self.seconds = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seconds = state["seconds"]

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        signal_handler.reinstall()
        self._counted = self._saved = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        assert isinstance(module, Condenser)
        last_update = batch.t == module.updates - 1
        due = last_update and any((batch.k + 1) % number == 0 for number in self.every)
        late = time.monotonic() - self._saved > 60 * self.minutes
        stopped, late = ranks.any([signal_handler.signum is not None, late], module.device)
        if due or late or stopped or trainer.global_step == trainer.max_steps:
            self.save(trainer)
        if stopped:  # in good order: what this update has logged is still to be written
            signal_handler.signum = signal_handler.signum or signal.SIGTERM  # told to another rank
            trainer.should_stop = True

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._count()

    def save(self, trainer: lightning.Trainer) -> None:
        """Now."""
        self._count()
        trainer.save_checkpoint(self.path)
        self._saved = time.monotonic()

    def _count(self) -> None:
        now = time.monotonic()
        self.seconds += now - self._counted
        self._counted = now
