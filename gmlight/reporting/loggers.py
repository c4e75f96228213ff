"""Where metrics go."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import numpy as np
from lightning.fabric.loggers.csv_logs import _ExperimentWriter
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from gmlight.artifacts.metrics_csv import _read_rows, _write_rows
from gmlight.errors import ConfigError
from gmlight.runtime.atomic import atomic_write
from gmlight.runtime.console import relative_path

TAG = 64  # characters, as many as W&B takes


@dataclass(frozen=True)
class About:
    """What a dashboard calls a run and finds it by.

    group: what runs that differ in their seed alone have in common. tags: of the choices made.
    config: resolved, as plain containers.
    """

    name: str
    group: str
    tags: list[str]
    config: dict[str, Any]


def about(record: dict[str, Any]) -> About:
    """The record is `config.describe`'s with its `labels`."""
    config = record["config"]
    dataset, ipc = config["dataset"]["name"], f"ipc {config['ipc']}"
    group = f"{dataset}, {ipc}, {record['method']}"
    if record["scale"] != "paper":
        group += f", {record['scale']}"
    made = {key: record["choices"].get(key) for key in ("matching", "distance", "schedule", "initialization")}
    tags = [dataset, ipc, record["method"], f"scale {record['scale']}", record["architecture"]]
    tags += [f"{key}={choice}" for key, choice in made.items() if choice]
    if record.get("protocol", "plain") != "plain":
        group += f", protocol {record['protocol']}"
        tags.append(f"protocol {record['protocol']}")
    return About(f"{group}, seed {config['seed']}", group, [tag[:TAG] for tag in tags], config)


class MetricsCSV(CSVLogger):
    """metrics.csv in the run folder itself, and no file of hyper-parameters: config.yaml holds them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, name="", version="", flush_logs_every_n_steps=1)

    @property
    @rank_zero_only
    def experiment(self) -> _ExperimentWriter:
        if self._experiment is None:
            path = Path(self.log_dir) / _ExperimentWriter.NAME_METRICS_FILE
            keys, rows = _read_rows(path)
            if not rows:
                self._experiment = _ExperimentWriter(log_dir=self.log_dir)
                return self._experiment
            with atomic_write(path) as kept:
                _write_rows(kept, keys, rows)
                self._experiment = _ExperimentWriter(log_dir=self.log_dir)  # which removes the file
            self._experiment.metrics_keys = keys
        return self._experiment

    def log_hyperparams(self, *args: Any, **keywords: Any) -> None:
        pass


def csv_logger(folder: Path, about: About) -> Logger:
    """metrics.csv in the run folder."""
    return MetricsCSV(folder)


def tensorboard_logger(folder: Path, about: About) -> Logger:
    """Events for `tensorboard --logdir`, in the run folder's tensorboard/.

    Raises:
        ConfigError: TensorBoard is not installed.
    """
    try:
        return TensorBoardLogger(folder, name="tensorboard", version="")
    except ModuleNotFoundError:
        raise ConfigError(
            "logger=tensorboard: TensorBoard is not installed; pip install 'gmlight[tensorboard]'"
        ) from None


def wandb_logger(folder: Path, about: About, *, project: str) -> Logger:
    """W&B; offline, without a prompt, where no key is set."""
    os.environ.setdefault("WANDB_SILENT", "true")  # gmlight says in one line where the run is
    import wandb

    try:
        online = wandb.login(prompt=False, verify=False)
    except (ValueError, wandb.Error) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"logger=wandb: {reason}; mend or unset WANDB_API_KEY, or use WANDB_MODE=offline"
        ) from None
    options: dict[str, Any] = {} if online or os.environ.get("WANDB_MODE") else {"mode": "offline"}
    if runs := sorted(folder.glob("wandb/*run-*-*")):  # one that goes on keeps its id
        options |= {"id": runs[-1].name.rsplit("-", 1)[1], "resume": "allow"}
    return WandbLogger(
        name=about.name,
        project=project,
        save_dir=folder,
        group=about.group,
        tags=about.tags,
        config=about.config,
        **options,
    )


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


def log_picture(loggers: Iterable[Logger], path: Path, step: int) -> None:
    """The picture of S, in those loggers that take pictures."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image("samples", [str(path)])
        elif isinstance(logger, TensorBoardLogger):
            pixels = np.asarray(Image.open(path))  # [H, W, 3]
            logger.experiment.add_image("samples", pixels, step, dataformats="HWC")


def log_artifact(
    loggers: Iterable[Logger], folder: Path, record: dict[str, Any], accuracy: dict[str, Any]
) -> None:
    """The condensed set in the folder, as W&B's artifact of type condensed-set, found by what made it."""
    config = record["config"]
    metadata = {
        "dataset": config["dataset"]["name"],
        **{key: config[key] for key in ("ipc", "iterations", "seed")},
        **{key: record[key] for key in ("method", "scale", "architecture", "command")},
        "accuracy": {key: accuracy[key] for key in ("mean", "std", "n", "epochs", "protocol")},
    }
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            import wandb

            name = re.sub(
                r"[^\w.-]+", "-", f"{metadata['dataset']}-ipc{metadata['ipc']}-{logger.experiment.id}"
            )
            artifact = wandb.Artifact(name, type="condensed-set", metadata=metadata)
            artifact.add_dir(str(folder))
            logger.experiment.log_artifact(artifact)


def places(loggers: Iterable[Logger]) -> Iterator[tuple[str, str]]:
    """Of each dashboard its name, and where the run is to be seen or how it gets there."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            run = logger.experiment
            yield "wandb", f"wandb sync {relative_path(Path(run.dir).parent)}" if run.offline else run.url
        elif isinstance(logger, TensorBoardLogger):
            yield "events", f"tensorboard --logdir {relative_path(Path(logger.log_dir))}"
