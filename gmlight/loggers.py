"""Where metrics go."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
from lightning.fabric.loggers.csv_logs import _ExperimentWriter
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from gmlight.errors import ConfigError


def no_logger(folder: Path, name: str) -> bool:
    """Nothing is logged."""
    return False


class MetricsCSV(CSVLogger):
    """metrics.csv in the run folder itself, and no file of hyper-parameters: config.yaml holds them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, name="", version="", flush_logs_every_n_steps=1)

    @property
    @rank_zero_only
    def experiment(self) -> _ExperimentWriter:
        if self._experiment is None:
            self._experiment = _ExperimentWriter(log_dir=self.log_dir)
        return self._experiment

    def log_hyperparams(self, *args: Any, **keywords: Any) -> None:
        pass


def csv_logger(folder: Path, name: str) -> Logger:
    """metrics.csv in the run folder."""
    return MetricsCSV(folder)


def wandb_logger(folder: Path, name: str, *, project: str) -> Logger:
    """W&B; offline, without a prompt, where no key is set."""
    import wandb

    try:
        online = wandb.login(prompt=False, verify=False)
    except (ValueError, wandb.Error) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"logger=wandb: {reason}; mend or unset WANDB_API_KEY, or use WANDB_MODE=offline"
        ) from None
    mode: dict[str, Any] = {} if online else {"mode": "offline"}
    return WandbLogger(name=name, project=project, save_dir=folder, **mode)


@contextmanager
def closing_loggers(trainer: lightning.Trainer) -> Iterator[None]:
    """Ends every logger's run at the end, also after an error, so that the next run gets its own."""
    status = "failed"
    try:
        yield
        status = "success"
    finally:
        for logger in trainer.loggers:
            logger.finalize(status)
            if isinstance(logger, WandbLogger):
                import wandb

                wandb.finish(exit_code=0 if status == "success" else 1)
