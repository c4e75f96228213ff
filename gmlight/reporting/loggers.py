"""Builds the loggers of a run, metrics.csv, TensorBoard and W&B, and sends pictures and sets to them."""

import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import numpy as np
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from PIL import Image
from rich.console import Console

from gmlight.artifacts.record import Invocation, RunRecord
from gmlight.artifacts.run_folder import RunFolder
from gmlight.errors import ConfigError, one_line
from gmlight.reporting.csv_logger import MetricsCSVLogger
from gmlight.runtime.console import new_console, print_path, relative_path

MAX_TAG_LENGTH = 64  # characters; W&B refuses longer ones
ONLINE_SECONDS = 20  # longest wait for W&B to accept a run


@dataclass(frozen=True)
class DashboardLabels:
    """The labels of a run on a dashboard.

    Args:
        name: of the run.
        group: shared by runs that differ only in their seed.
        tags: the run's dataset, labels and choices.
        config: the resolved configuration, as plain containers.
    """

    name: str
    group: str
    tags: list[str]
    config: dict[str, Any]


def dashboard_labels(record: RunRecord) -> DashboardLabels:
    """Labels a run for dashboards."""
    dataset, ipc = record.config["dataset"]["name"], f"ipc {record.config['ipc']}"
    group = f"{dataset}, {ipc}, {record.method}"
    if record.scale != "paper":
        group += f", {record.scale}"
    groups = ("matching", "distance", "schedule", "initialization")
    tags = [dataset, ipc, record.method, f"scale {record.scale}", record.architecture]
    tags += [f"{key}={record.choices[key]}" for key in groups if record.choices.get(key)]
    if record.protocol != "plain":
        group += f", protocol {record.protocol}"
        tags.append(f"protocol {record.protocol}")
    name = f"{group}, seed {record.config['seed']}"
    tags = [one_line(tag)[:MAX_TAG_LENGTH] for tag in tags]
    return DashboardLabels(one_line(name), one_line(group), tags, record.config)


def use_labels(title: str, called: Invocation | RunRecord) -> DashboardLabels:
    """Labels a use of condensed sets for dashboards.

    Args:
        title: of the use.
        called: how its command was called.
    """
    command = called.command.split()[2]
    return DashboardLabels(one_line(f"{command}, {title}"), command, [command], called.config)


def csv_logger(folder: Path, labels: DashboardLabels) -> Logger:
    """Builds the logger of metrics.csv in the run folder."""
    return MetricsCSVLogger(RunFolder(folder).metrics)


def tensorboard_logger(folder: Path, labels: DashboardLabels) -> Logger:
    """Builds a TensorBoard logger that writes to tensorboard/ in the run folder.

    Raises:
        ConfigError: TensorBoard is not installed.
    """
    try:
        return TensorBoardLogger(folder, name="tensorboard", version="")
    except ModuleNotFoundError:
        raise ConfigError(
            "logger=tensorboard: TensorBoard is not installed; pip install 'gmlight[tensorboard]'"
        ) from None


def wandb_logger(folder: Path, labels: DashboardLabels, *, project: str) -> Logger:
    """Builds a W&B logger; without a key or a connection it works offline, and it never prompts.

    Args:
        folder: of the run; a resumed run keeps its id.
        labels: of the run.
        project: name of the project on W&B.

    Raises:
        ConfigError: the key is malformed.
    """
    os.environ.setdefault("WANDB_SILENT", "true")  # gmlight prints the location of the run
    import wandb

    try:
        online = wandb.login(prompt=False, verify=False)
    except (ValueError, wandb.Error) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"logger=wandb: {reason}; correct or unset WANDB_API_KEY, or use WANDB_MODE=offline"
        ) from None
    options: dict[str, Any] = {} if online or os.environ.get("WANDB_MODE") else {"mode": "offline"}
    earlier = sorted(folder.glob("wandb/*run-*-*"))
    return _OnlineOrOfflineLogger(
        name=labels.name,
        project=project,
        save_dir=folder,
        group=labels.group,
        tags=labels.tags,
        config=labels.config,
        id=earlier[-1].name.rsplit("-", 1)[1] if earlier else secrets.token_hex(4),
        settings=wandb.Settings(init_timeout=ONLINE_SECONDS),
        **options,
    )


class _OnlineOrOfflineLogger(WandbLogger):
    """Records a run offline if W&B does not accept it: there is no network, or the key is wrong."""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        import wandb

        try:
            return super().experiment
        except wandb.Error as error:
            line = f"logger=wandb: no connection ({str(error).splitlines()[0]}); the run is recorded offline"
            new_console().print(line, soft_wrap=True)
            wandb.teardown()  # its service still holds the run's id
            self._wandb_init["mode"] = "offline"
            return super().experiment


@contextmanager
def closing_loggers(trainer: lightning.Trainer) -> Iterator[None]:
    """Finalizes all loggers when the block ends, also after an error, so that a later run gets new ones."""
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
    """Sends a picture of the synthetic set to the loggers that take pictures.

    Args:
        loggers: of the run.
        path: a PNG file.
        step: number of image updates so far; W&B uses its own counter.
    """
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image("samples", [str(path)])
        elif isinstance(logger, TensorBoardLogger):
            pixels = np.asarray(Image.open(path))  # [H, W, 3]
            logger.experiment.add_image("samples", pixels, step, dataformats="HWC")


def log_use(
    loggers: Sequence[Logger], scores: Mapping[str, float | None], picture: Path, console: Console
) -> None:
    """Sends the scores and the picture of a use of condensed sets to dashboards, and ends them.

    Args:
        loggers: of the use.
        scores: by name; those that are None are left out.
        picture: a PNG file.
        console: gets a line about where each dashboard is.
    """
    for name, place in dashboard_locations(loggers):
        print_path(name, place, console)
    known = {name: score for name, score in scores.items() if score is not None}
    for logger in loggers:
        logger.log_metrics(known, step=0)
        log_picture([logger], picture, 0)
        logger.finalize("success")
        if isinstance(logger, WandbLogger):
            import wandb

            wandb.finish()


def log_artifact(
    loggers: Iterable[Logger], folder: Path, record: RunRecord, accuracy: Mapping[str, Any]
) -> None:
    """Sends the condensed set to W&B, as an artifact of type `condensed-set`.

    Args:
        loggers: of the run.
        folder: of the condensed set.
        record: of the run; parts of it become the artifact's metadata.
        accuracy: of the set, as in the run's result.
    """
    config = record.config
    metadata = {
        "dataset": config["dataset"]["name"],
        **{key: config[key] for key in ("ipc", "iterations", "seed")},
        "method": record.method,
        "scale": record.scale,
        "architecture": record.architecture,
        "command": record.command,
        "accuracy": {key: accuracy[key] for key in ("mean", "std", "n", "epochs", "protocol")},
    }
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            import wandb

            name = f"{metadata['dataset']}-ipc{metadata['ipc']}-{logger.experiment.id}"
            artifact = wandb.Artifact(re.sub(r"[^\w.-]+", "-", name), type="condensed-set", metadata=metadata)
            artifact.add_dir(str(folder))
            logger.experiment.log_artifact(artifact)


def dashboard_locations(loggers: Iterable[Logger]) -> Iterator[tuple[str, str]]:
    """Yields the name of each dashboard, and the run's URL or the command that shows or uploads it."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            run = logger.experiment
            yield "wandb", f"wandb sync {relative_path(Path(run.dir).parent)}" if run.offline else run.url
        elif isinstance(logger, TensorBoardLogger):
            yield "events", f"tensorboard --logdir {relative_path(Path(logger.log_dir))}"
