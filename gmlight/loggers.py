"""Where metrics go."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
from lightning.fabric.loggers.csv_logs import _ExperimentWriter
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from gmlight.errors import ConfigError
from gmlight.files import unfinished, whole

METRICS = _ExperimentWriter.NAME_METRICS_FILE


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
            path = Path(self.log_dir) / METRICS
            keys, rows = _read_rows(path)
            if not rows:
                self._experiment = _ExperimentWriter(log_dir=self.log_dir)
                return self._experiment
            with whole(path) as kept:
                _write_rows(kept, keys, rows)
                self._experiment = _ExperimentWriter(log_dir=self.log_dir)  # which removes the file
            self._experiment.metrics_keys = keys
        return self._experiment

    def log_hyperparams(self, *args: Any, **keywords: Any) -> None:
        pass


def forget_from(folder: Path, step: int, *, evaluated: bool) -> None:
    """Takes the lines of updates from this one on out of metrics.csv: they are made again.

    Args:
        evaluated: whether the line of the evaluation before that update stays.
    """
    path = folder / METRICS
    keys, rows = _read_rows(path)
    # An evaluation after update i is logged at step i + 1.
    kept = [row for row in rows if int(row["step"]) < step + bool(evaluated and row.get("accuracy/mean"))]
    if len(kept) < len(rows):
        with whole(path) as file:
            _write_rows(file, keys, kept)


def _read_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    # Whole lines alone: the last one may have been cut short.
    if not path.exists() and unfinished(path).exists():
        path = unfinished(path)
    if not path.exists():
        return [], []
    with path.open(newline="") as file:
        lines = file.read().splitlines(keepends=True)
    reader = csv.DictReader(line for line in lines if line.endswith("\n"))
    return list(reader.fieldnames or []), [row for row in reader if None not in row.values()]


def _write_rows(path: Path, keys: list[str], rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, keys)
        writer.writeheader()
        writer.writerows(rows)


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
    options: dict[str, Any] = {} if online else {"mode": "offline"}
    if runs := sorted(folder.glob("wandb/*run-*-*")):  # one that goes on keeps its id
        options |= {"id": runs[-1].name.rsplit("-", 1)[1], "resume": "allow"}
    return WandbLogger(name=name, project=project, save_dir=folder, **options)


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
