"""Builds a run and loads its data."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import lightning
from omegaconf import DictConfig
from rich.console import Console

from gmlight.artifacts.condensed_set import CondensedDataset
from gmlight.artifacts.record import RunRecord, base_name
from gmlight.artifacts.run_folder import RunFolder
from gmlight.builders.condenser import build_condenser, build_start, check_gradients
from gmlight.builders.data import build_matched_data, load_data
from gmlight.builders.evaluators import (
    build_baselines,
    build_evaluators,
    build_protocol,
    build_quick_evaluator,
    evaluation_protocol,
)
from gmlight.builders.parts import build_callbacks, build_loggers, build_parts
from gmlight.builders.trainer import build_trainer, refuse_processes_in_a_sweep
from gmlight.callbacks.checkpoints import Checkpoints
from gmlight.callbacks.evaluation import QuickEvaluation
from gmlight.callbacks.metrics import MetricsLines
from gmlight.callbacks.page import RunPage
from gmlight.callbacks.progress_bar import ProgressBar
from gmlight.condensation.condenser import Condenser
from gmlight.data.datamodule import CondensationData
from gmlight.data.images import TrainingSet
from gmlight.data.source import DataSource
from gmlight.errors import ConfigError
from gmlight.reporting.data_table import describe_data, print_data_table
from gmlight.reporting.loggers import dashboard_labels
from gmlight.training.evaluator import EvaluatedSet, Evaluator
from gmlight.training.final_evaluation import FinalEvaluation


class RunCallbacks(NamedTuple):
    """A run's callbacks, in the order of the trainer's calls."""

    metrics: MetricsLines
    progress_bar: ProgressBar
    checkpoints: Checkpoints
    quick_evaluation: QuickEvaluation
    page: RunPage


@dataclass(frozen=True)
class Run:
    """A run that is ready to start.

    Args:
        folder: the run folder.
        record: how the run was called, and its labels.
        console: where the run prints.
        resumed: whether the run was started in this folder before.
        trainer: Lightning's trainer, with loggers and callbacks.
        callbacks: gmlight's callbacks of the trainer.
        data: the loaded dataset.
        condenser: learns the synthetic set; None if real images are only evaluated.
        evaluation: the final evaluation, which also holds the initial set.
    """

    folder: RunFolder
    record: RunRecord
    console: Console
    resumed: bool
    trainer: lightning.Trainer
    callbacks: RunCallbacks
    data: CondensationData
    condenser: Condenser | None
    evaluation: FinalEvaluation


def build_run(
    config: DictConfig,
    folder: RunFolder,
    record: RunRecord,
    console: Console,
    *,
    resumed: bool = False,
    source: DataSource | None = None,
) -> Run:
    """Builds the parts of a run and loads its data.

    Args:
        config: of gmlight.train.
        folder: the run folder.
        record: of this configuration.
        console: where the run prints.
        resumed: whether the run was started in this folder before.
        source: of the images; None: the dataset that the configuration names.

    Raises:
        ConfigError: a part of the configuration is invalid, or does not work on this machine.
    """
    parts = build_parts(config, console.print)
    data, protocol = build_matched_data(config, parts, source), build_protocol(config, parts.augmentation)
    evaluators = build_evaluators(config, data, record.architecture, parts.compilation, console, protocol)
    quick_evaluator = build_quick_evaluator(config, data, parts.compilation, protocol)
    callbacks = _build_callbacks(config, folder, record, quick_evaluator, console)
    loggers = [] if config.dry_run else build_loggers(config, folder.path, dashboard_labels(record))
    trainer = build_trainer(
        config, logger=loggers, callbacks=[*callbacks, *build_callbacks(config)], folder=folder.path
    )
    refuse_processes_in_a_sweep(trainer)
    if trainer.world_size > 1 and not config.iterations:
        raise ConfigError("trainer.devices: with iterations=0 one process evaluates; use trainer=auto")
    load_data(data, trainer)
    print_data_table(data, console)
    check_gradients(config, data, parts, trainer.world_size)
    chosen = folder.condensed if resumed and not config.iterations else None
    if chosen is not None and chosen.exists():
        # The images stay those that were chosen before: networks may have been evaluated on them already.
        start: TrainingSet = CondensedDataset(chosen).labelled().to(data.train.device)
    else:
        start = build_start(config, data, console, parts.initialization)
    condenser = None
    if config.iterations:
        pool = None if config.dry_run else folder.network_pool
        condenser = build_condenser(config, start, data, parts, pool, console)
    name = "condensed" if config.iterations else f"{base_name(record.method)} images"
    evaluation = FinalEvaluation(
        evaluators,
        EvaluatedSet(name, start, config.evaluation.networks),
        build_baselines(config, data),
        evaluation_protocol(config) | {"data": data.info.digest and data.info.digest.identity()},
    )
    return Run(folder, record, console, resumed, trainer, callbacks, data, condenser, evaluation)


def _build_callbacks(
    config: DictConfig, folder: RunFolder, record: RunRecord, evaluator: Evaluator, console: Console
) -> RunCallbacks:
    protocol, checkpoint = config.evaluation, config.checkpoint
    return RunCallbacks(
        MetricsLines(config.log_every),
        ProgressBar(config.iterations, config.updates, console),
        Checkpoints(folder, checkpoint.every, protocol.every, checkpoint.minutes),
        QuickEvaluation(evaluator, protocol.every, protocol.quick_networks, folder, console),
        RunPage(folder, record, evaluator.data.classes, console, partial(describe_data, evaluator.data)),
    )
