"""Builds a whole run and loads its data."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
from omegaconf import DictConfig
from rich.console import Console

from gmlight.artifacts.condensed_set import CondensedDataset
from gmlight.builders.condenser import build_condenser, build_start
from gmlight.builders.data import build_matched_data, load_data
from gmlight.builders.evaluators import (
    build_baselines,
    build_evaluator,
    build_evaluators,
    evaluation_architecture,
)
from gmlight.builders.parts import build_compilation, build_factory, build_loggers
from gmlight.builders.trainer import build_trainer
from gmlight.callbacks.checkpoints import Checkpoints
from gmlight.callbacks.evaluation import QuickEvaluation
from gmlight.callbacks.metrics import MetricsLines
from gmlight.callbacks.page import RunPage
from gmlight.callbacks.progress_bar import ProgressBar
from gmlight.condensation.condenser import Condenser
from gmlight.config.command_line import refuse_several_in_a_sweep
from gmlight.data.datamodule import CondensationData
from gmlight.data.images import TrainingSet
from gmlight.errors import ConfigError
from gmlight.reporting.loggers import about
from gmlight.training.evaluator import Evaluator


@dataclass(frozen=True)
class Parts:
    """What a run is made of.

    start: S before its first update, or the real set that is only evaluated. condenser: what learns S from
    it, where there is anything to learn. baselines: (name, set, number of networks) evaluated beside S.
    """

    trainer: lightning.Trainer
    data: CondensationData
    start: TrainingSet
    condenser: Condenser | None
    evaluators: dict[str, Evaluator]
    baselines: list[tuple[str, TrainingSet, int]]
    checkpoints: Checkpoints
    quick: QuickEvaluation
    page: RunPage


def prepare(
    config: DictConfig, folder: Path, record: dict[str, Any], console: Console, *, goes_on: bool = False
) -> Parts:
    """Builds the parts and loads the data.

    Args:
        record: of `config.describe`, with its labels.
        goes_on: whether the folder has this run's beginning.
    """
    factory = build_factory(config.architecture, config.dataset)
    data = build_matched_data(config, factory)
    compilation = build_compilation(config, console.print)
    evaluators = build_evaluators(config, data, record["architecture"], compilation, console)
    target = evaluation_architecture(config.architecture, config.evaluation.batch_norm)
    checkpoints = Checkpoints(
        folder / "checkpoints", config.checkpoint.every, config.evaluation.every, config.checkpoint.minutes
    )
    quick = QuickEvaluation(
        build_evaluator(config, target, data, compilation),
        config.evaluation.every,
        config.evaluation.quick_networks,
        folder,
        console,
    )
    page = RunPage(folder, record, data.classes, config.iterations, config.updates, console)
    trainer = build_trainer(
        config,
        logger=build_loggers(config, folder, about(record)),
        callbacks=[
            MetricsLines(config.log_every),
            ProgressBar(config.iterations, config.updates, console),
            checkpoints,
            quick,
            page,
        ],
    )
    refuse_several_in_a_sweep(trainer)
    if trainer.world_size > 1 and not config.iterations:
        raise ConfigError("trainer.devices: nothing is condensed, one process evaluates; use trainer=auto")
    load_data(data, trainer)
    chosen = folder / "condensed"
    if goes_on and not config.iterations and chosen.exists():
        # What was chosen stays chosen: networks may have been evaluated on it already.
        start: TrainingSet = CondensedDataset(chosen).labelled().to(data.train.device)
    else:
        start = build_start(config, data, console)
    condenser = None
    if config.iterations:
        condenser = build_condenser(config, start, data, factory, compilation)
    baselines = build_baselines(config, data)
    return Parts(trainer, data, start, condenser, evaluators, baselines, checkpoints, quick, page)
