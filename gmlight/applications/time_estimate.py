"""Estimates how long networks train, from a few steps of some of them."""

import time
from collections.abc import Sequence

import torch
from rich.console import Console

from gmlight.applications.network_training import NetworkTrainer, NetworkUnit
from gmlight.artifacts.work_log import WorkLog
from gmlight.errors import ConfigError
from gmlight.runtime.console import format_duration, pluralize
from gmlight.runtime.seeding import generator
from gmlight.training.ensemble import Ensemble
from gmlight.training.evaluator import Evaluator
from gmlight.training.steps import steps_per_epoch, training_steps

TIMED = 12  # units that are timed, evenly spaced
STEPS = 3  # of each, after one that warms up


def print_estimate(
    trainer: NetworkTrainer, units: Sequence[NetworkUnit], log: WorkLog, jobs: int, console: Console
) -> None:
    """Times a few steps of some networks, and prints an estimate for all that are not trained yet.

    Args:
        trainer: of the networks.
        units: all networks.
        log: of finished networks.
        jobs: number of processes that will train them.
        console: where to print.
    """
    keys = {trainer.key(unit): unit for unit in units}
    missing = [unit for key, unit in keys.items() if log.get(key) is None]
    timed = missing[:: max(1, len(missing) // TIMED)]
    measured = [seconds for unit in timed if (seconds := _seconds(trainer, unit)) is not None]
    console.print("dry run: no network was trained to its end; nothing was written")
    console.print(f"networks   {len(units)}, of which {len(units) - len(missing)} are trained already")
    if measured:
        total = sum(measured) / len(measured) * len(missing) / jobs
        sample = pluralize(len(measured), "network")
        console.print(f"training   {format_duration(total)}, from {sample}; in {pluralize(jobs, 'process')}")


def _seconds(trainer: NetworkTrainer, unit: NetworkUnit) -> float | None:
    # Estimated duration of a network's training; None if its network cannot be built.
    try:
        evaluator, images = trainer.evaluator(unit), trainer.images(unit)
    except ConfigError:
        return None
    in_epoch = evaluator.epoch_steps or steps_per_epoch(images, evaluator.protocol.sgd.batch_size)
    steps = _steps(evaluator, trainer, unit)
    next(steps)
    started = time.monotonic()
    for _ in range(STEPS):
        next(steps)
    return (time.monotonic() - started) / STEPS * in_epoch * evaluator.protocol.epochs


def _steps(evaluator: Evaluator, trainer: NetworkTrainer, unit: NetworkUnit):  # type: ignore[no-untyped-def]
    protocol = evaluator.protocol
    ensemble = Ensemble([evaluator.factory()]).to(evaluator.data.test.device)
    with torch.enable_grad():
        yield from training_steps(
            ensemble,
            protocol.sgd.optimizer(ensemble),
            trainer.images(unit),
            batch_size=protocol.sgd.batch_size,
            rngs=[generator(evaluator.seed, "evaluation-batches", unit.network)],
            augmentation=protocol.augmentation,
            cutmix=protocol.cutmix,
            precision=protocol.precision,
        )
