"""A callback that logs metrics of the image updates."""

import time
from typing import Any

import lightning
from torch import Tensor

from gmlight.condensation.condenser import Condenser
from gmlight.runtime.memory import peak_bytes

_AVERAGED = {"matching_loss/total", "matching_loss/intra", "matching_loss/inter", "zeta"}


class MetricsLines(lightning.Callback):
    """Logs metrics every `every` image updates, to every logger.

    `matching_loss/*` and `zeta` are means over the updates since the last row, because they depend on t. The
    module's other metrics are those of the row's update. `speed/iterations_per_second` counts outer
    iterations since the last row. `memory/peak_gib` is the peak of allocated device memory, or of the
    process's memory on a CPU. Lightning's logging is not used: it would repeat metrics of earlier updates.

    Args:
        every: number of image updates between two rows.
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
