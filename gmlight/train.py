"""Condenses a dataset: `python -m gmlight.train dataset=mnist ipc=1`."""

import functools
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import lightning
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import DictConfig

from gmlight import artifact, build, results
from gmlight.callbacks import (
    ProgressBar,
    QuickEvaluation,
    evaluate_sets,
    record_evaluation,
    save_samples,
)
from gmlight.condenser import Condenser
from gmlight.config import blank_cell, command, describe, labels
from gmlight.data import CondensationData, LabelledImages
from gmlight.errors import ConfigError, NonFiniteError
from gmlight.loggers import closing_loggers
from gmlight.synthetic import flatten


def main() -> None:
    command(train, "train")


def train(config: DictConfig, folder: Path) -> None:
    """Condenses, evaluates, and leaves artifact, result, pictures and metrics in the run folder."""
    console, record = results.new_console(), describe(config)
    record |= labels(config, record)
    if reason := blank_cell(config):
        results.write(folder, [], record | {"blank": reason})
        console.print(f"{results.headline(record)}: not applicable, {reason}")
        return
    factory = build.build_factory(config.architecture, config.dataset)
    data = build.build_data(config, statistics=build.needs_statistics(factory))
    compilation = build.build_compilation(config, console.print)
    evaluators = build.build_evaluators(config, data, record["architecture"], compilation, console)
    target = build.evaluation_architecture(config.architecture, config.evaluation.batch_norm)
    quick = QuickEvaluation(
        build.build_evaluator(config, target, data, compilation),
        config.evaluation.every,
        config.evaluation.quick_networks,
        folder,
        console,
    )
    trainer = build.build_trainer(
        config,
        logger=build.build_logger(config, folder),
        callbacks=[
            ProgressBar(config.iterations, config.updates, console),
            quick,
            checkpoints(config, folder),
        ],
    )
    data.load(trainer.strategy.root_device)
    learned = build.build_start(config, data)
    condenser = None
    if config.iterations:
        condenser = build.build_condenser(config, learned, data, factory, compilation)
    baselines = build.build_baselines(config, data)
    claim(folder, record)
    console.print(results.headline(record))

    seconds = {"condensing": 0.0, "evaluation": 0.0}
    keep = functools.partial(save, folder / "condensed", record, data)
    with closing_loggers(trainer):
        if condenser is not None:
            save_samples(folder, 0, condenser.synthetic.labelled(), data)
            started = time.monotonic()
            learned = condense(trainer, condenser, data, keep).to(trainer.strategy.root_device)
            seconds["condensing"] = time.monotonic() - started - quick.seconds
        if isinstance(learned, LabelledImages):
            keep(learned, complete=True)

        started = time.monotonic()
        name = "condensed" if config.iterations else f"{record['method']} images"
        sets = [(name, learned, config.evaluation.networks), *baselines]
        rows = evaluate_sets(evaluators, sets, console)
        seconds["evaluation"] = time.monotonic() - started + quick.seconds
        if isinstance(learned, LabelledImages):
            record_evaluation(trainer, folder, config.iterations, learned, data, rows[0].accuracy)
            own = [results.as_record(row) for row in rows if row.name == name]
            artifact.update_metadata(folder / "condensed", evaluations=own)
    if condenser is not None:
        record["zeta_used"] = condenser.zeta_used
        record["speed"] = condenser.engine.describe()
    record |= {"seconds": seconds, "environment": results.environment(trainer.strategy.root_device)}
    results.write(folder, rows, record)
    results.print_table(rows, record, console)
    results.print_path("run", folder, console)
    if (folder / "condensed").exists():
        results.print_path("picture", folder / "condensed" / artifact.GRID, console)


def condense(
    trainer: lightning.Trainer, condenser: Condenser, data: CondensationData, keep: Callable[..., Path]
) -> LabelledImages:
    """S after its last update; where numbers go wrong, keeps the last good S and says so."""
    try:
        trainer.fit(condenser, datamodule=data)
    except NonFiniteError as error:
        kept = keep(flatten(condenser.good_images), complete=False)
        raise ConfigError(f"{error}; the last good images are in {kept}") from None
    return condenser.synthetic.labelled()


def save(
    folder: Path, record: dict[str, Any], data: CondensationData, images: LabelledImages, *, complete: bool
) -> Path:
    """Writes the artifact into the folder; `complete`: whether S is the outcome of all its iterations."""
    artifact.write(
        folder,
        images.images,
        images.labels,
        classes=data.classes,
        mean=data.mean,
        std=data.std,
        complete=complete,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        environment=results.environment(images.images.device),
        **record,
    )
    return folder


def claim(folder: Path, record: dict[str, Any]) -> None:
    """Makes the run folder this run's: config.yaml can be created only once."""
    try:
        with (folder / "config.yaml").open("x") as file:
            file.write(f"# {record['command']}\n")
            yaml.safe_dump(record["config"], file, sort_keys=False)
    except FileExistsError:
        raise ConfigError(f"{folder} already holds a run; choose another with hydra.run.dir=") from None


def checkpoints(config: DictConfig, folder: Path) -> ModelCheckpoint:
    """checkpoints/last.ckpt, every so many outer iterations."""
    return ModelCheckpoint(
        folder / "checkpoints",
        filename="last",
        every_n_train_steps=config.checkpoint.every * config.updates,
        enable_version_counter=False,
    )


if __name__ == "__main__":
    main()
