"""Dry run: runs a few steps and estimates time, memory and disk space of the whole run; writes no files."""

import io
import statistics
import time
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, NoReturn

import lightning
import torch
from omegaconf import DictConfig

from gmlight.artifacts.grid import draw_grid
from gmlight.builders.run import Run
from gmlight.builders.trainer import build_trainer
from gmlight.condensation.condenser import Condenser
from gmlight.data.datamodule import CondensationData
from gmlight.data.images import LabelledImages, TrainingSet
from gmlight.reporting.run_page import PICTURES, PICTURES_BYTES
from gmlight.runtime.console import format_duration
from gmlight.runtime.distributed import ranks
from gmlight.runtime.memory import explain_out_of_memory, peak_bytes
from gmlight.runtime.processes import ending_launched_processes
from gmlight.runtime.profiling import PartTimer, measure_seconds
from gmlight.training.evaluator import EvaluatedSet, Evaluator

WARM_UP, STEPS = 1, 3  # image updates
EPOCHS = 4  # of a network on the synthetic set
FEW = 256  # real images, a sample that represents a large set
METRICS_LINE = 700  # bytes, estimated
CURVES = 400 * 2**10  # bytes of a page without pictures, estimated


@dataclass(frozen=True)
class Plan:
    """Counts of the steps of a whole run.

    Args:
        iterations: outer iterations, K.
        updates: image updates per outer iteration, T.
        evaluate_every: outer iterations between quick evaluations; 0: none.
        quick_networks: networks in a quick evaluation.
        log_every: image updates between rows of metrics.
        pool_seconds: of the training of a pool of networks.
    """

    iterations: int
    updates: int
    evaluate_every: int
    quick_networks: int
    log_every: int
    pool_seconds: float = 0.0

    @property
    def evaluations(self) -> int:
        """Number of quick evaluations, without the final evaluation."""
        return (self.iterations - 1) // self.evaluate_every if self.evaluate_every else 0


@dataclass
class Steps(lightning.Callback):
    """A callback that measures each image update.

    Args:
        profile: the trainer's profiler.
        seconds: duration of each update.
        network_seconds: duration of the network's training after each update.
        zetas: zeta of each update, in the schedule's unit.
    """

    profile: PartTimer
    seconds: list[float] = field(default_factory=list)
    network_seconds: list[float] = field(default_factory=list)
    zetas: list[float] = field(default_factory=list)

    def on_train_batch_start(self, trainer: lightning.Trainer, *args: Any) -> None:
        self.profile.seconds.clear()
        self._started = time.perf_counter()

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, *args: Any) -> None:
        zeta = module.metrics["zeta"].item()  # waits for the device
        self.seconds.append(time.perf_counter() - self._started)
        self.network_seconds.append(self.profile.seconds.get("network", 0.0))
        self.zetas.append(zeta)


def condensing_seconds(steps: Steps, condenser: Condenser, plan: Plan) -> tuple[float, float]:
    """Estimates the duration of condensing.

    Args:
        steps: measured image updates.
        condenser: its schedule gives the zetas.
        plan: counts of the whole run.

    Returns:
        Seconds of one image update without the network's training; and seconds of the whole run's K*T updates
        with it.
    """
    measured_rows = list(zip(steps.seconds, steps.network_seconds, steps.zetas, strict=True))
    rows = measured_rows[WARM_UP:] or measured_rows
    matching = statistics.median(seconds - network for seconds, network, _ in rows)
    zetas = sum(zeta for *_, zeta in rows)
    epoch_seconds = sum(network for _, network, _ in rows) / zetas if zetas else 0.0
    measured = zetas / sum(zeta > 0 for *_, zeta in rows) if zetas else 0.0
    trained = sum(_zeta(condenser, t, measured) for t in range(plan.updates - 1))
    return matching, plan.iterations * (plan.updates * matching + trained * epoch_seconds)


def evaluation_seconds(evaluator: Evaluator, images: LabelledImages, networks: int) -> tuple[float, float]:
    """Measures the training and the test of evaluation networks.

    Args:
        evaluator: trains and tests the networks.
        images: the training set.
        networks: number of networks in an evaluation.

    Returns:
        Seconds of training per network, epoch and image; and seconds of testing per network.
    """
    shorter = evaluator.with_epochs(EPOCHS)
    device = evaluator.data.test.device
    members = list(range(min(evaluator.parallel_networks(images), networks)))
    with explain_out_of_memory(
        "the training of evaluation networks", "evaluation.networks_at_once", lambda: len(members)
    ):
        ensemble = shorter.trained(images, members)  # warm-up
        training = measure_seconds(lambda: shorter.trained(images, members), device) / len(members)
    with explain_out_of_memory(
        "the test", "evaluation.test_batch", lambda: evaluator.test_batch or len(images)
    ):
        evaluator.accuracies(ensemble, networks)
        testing = measure_seconds(lambda: evaluator.accuracies(ensemble, networks), device) / len(members)
    return training / EPOCHS / len(images), testing


def disk_bytes(condenser: Condenser, images: LabelledImages, data: CondensationData, plan: Plan) -> int:
    """Estimates the largest size of a run folder: set, two checkpoints, pictures, page, metrics.

    Args:
        condenser: of the run.
        images: the synthetic set.
        data: the dataset.
        plan: counts of the whole run.

    Returns:
        Bytes.
    """
    set_bytes = images.images.nbytes
    network = condenser.inner_loop.factory() if plan.updates > 1 else None
    # A checkpoint between two updates of an outer iteration has the network and its momentum.
    network_bytes = 0 if network is None else 2 * sum(p.nbytes for p in network.parameters())
    buffer = io.BytesIO()
    draw_grid(images, data.info).save(buffer, "PNG")
    picture_bytes, pictures = buffer.tell(), plan.evaluations + 2
    shown = min(pictures, PICTURES, max(2, PICTURES_BYTES // picture_bytes))
    page_bytes = shown * picture_bytes * 4 // 3 + CURVES  # pictures in base64
    lines = plan.iterations * plan.updates // plan.log_every
    checkpoints = 2 * (3 * set_bytes + network_bytes)  # the set, its momentum, the last good set
    return set_bytes + checkpoints + (pictures + 1) * picture_bytes + page_bytes + lines * METRICS_LINE


class Estimate(NamedTuple):
    """Estimated durations of a run, in seconds.

    Args:
        condensing: with the choice of real batches and the training of a pool.
        evaluating: of the final evaluation.
    """

    condensing: float
    evaluating: float


def rehearse(run: Run, config: DictConfig) -> Estimate:
    """Runs a few steps, prints estimates for the whole run, and returns them; writes no files.

    Args:
        run: ready to start, without loggers.
        config: the run's configuration.
    """
    trainer, steps, images = run.trainer, None, run.evaluation.start.images
    device = trainer.strategy.root_device
    run.console.print(run.record.headline)
    if run.condenser is not None:
        steps = Steps(PartTimer(device))
        updates = min(WARM_UP + STEPS, config.iterations * config.updates)
        trainer = build_trainer(config, callbacks=[steps], profiler=steps.profile, updates=updates)
    plan = Plan(
        iterations=config.iterations,
        updates=config.updates,
        evaluate_every=config.evaluation.every,
        quick_networks=config.evaluation.quick_networks,
        log_every=config.log_every,
    )
    with ending_launched_processes(trainer.strategy):
        if run.condenser is not None:
            pool, run.condenser.inner_loop.pool = run.condenser.inner_loop.pool, None  # takes too long
            trainer.fit(run.condenser, datamodule=run.data)
            if pool is not None:
                plan = replace(plan, pool_seconds=pool.estimate_seconds(config.seed, device))
            images = run.condenser.synthetic.labelled().to(device)
        estimate = report(run, steps, images, plan)
    ranks.shut_down()
    return estimate


def report(run: Run, steps: Steps | None, images: TrainingSet, plan: Plan) -> Estimate:
    """Prints estimates for the whole run, after a few of its steps, and returns them.

    Args:
        run: the run, after these steps.
        steps: their measurements; None if nothing is condensed.
        images: the synthetic set, or the set that is only evaluated.
        plan: counts of the whole run.
    """

    def line(heading: str, value: str, comment: str = "") -> None:
        run.console.print(f"{heading:<18} {value:<16} {comment}".rstrip(), soft_wrap=True)

    run.console.print("dry run: every step of the run works; nothing was written")
    condensing = 0.0
    if run.condenser is not None and steps is not None:
        matching, whole = condensing_seconds(steps, run.condenser, plan)
        line("an image update", f"{matching:.3g} s", "without the network's training")
        sampling = run.data.sampling_seconds(plan.iterations)
        comment = f", with {format_duration(sampling)} for choosing real batches" if sampling else ""
        duration = format_duration(whole + sampling)
        condensing = whole + sampling + plan.pool_seconds
        if plan.pool_seconds:
            line("the pool", format_duration(plan.pool_seconds), "training of the networks that are matched")
        line("condensing", duration, f"K={plan.iterations}, T={plan.updates}{comment}")
    sets = [run.evaluation.start._replace(name="the set", images=images), *run.evaluation.baselines]
    final, quick = _evaluations_seconds(run, sets, plan)
    line(
        "evaluating",
        format_duration(final),
        "networks: " + ", ".join(f"{n} on {name}" for name, _, n in sets),
    )
    if quick:
        comment = f"{plan.evaluations} times {plan.quick_networks} networks"
        line("quick evaluations", format_duration(quick), comment)
    line("in all", format_duration(condensing + final + quick))
    peak = peak_bytes(run.trainer.strategy.root_device)
    line("memory", f"{peak / 2**30:.2f} GiB", "peak of the dry run")
    if run.condenser is not None and isinstance(images, LabelledImages):
        disk = disk_bytes(run.condenser, images, run.data, plan)
        line("disk", f"{disk / 2**20:.1f} MiB", "largest size of the run folder, about")
    return Estimate(condensing, final)


def _evaluations_seconds(run: Run, sets: list[EvaluatedSet], plan: Plan) -> tuple[float, float]:
    # Returns the seconds of the final evaluation, and of all quick evaluations.
    images = sets[0].images
    few = images if isinstance(images, LabelledImages) else _few(run.data)
    final, quick = 0.0, 0.0
    for i, evaluator in enumerate(run.evaluation.evaluators.values()):
        epochs, batch_size = evaluator.protocol.epochs, evaluator.protocol.sgd.batch_size
        small_set, testing = evaluation_seconds(evaluator, few, sets[0].networks)
        large = [networks for _, each, networks in sets if len(each) > batch_size]
        # Full mini-batches take less time per image than the mini-batches of a small set.
        large_set = evaluation_seconds(evaluator, _few(run.data), large[0])[0] if large else small_set
        for _, each, networks in sets:
            per_image = large_set if len(each) > batch_size else small_set
            final += networks * (epochs * len(each) * per_image + testing)
        if i == 0 and run.condenser is not None:
            per_network = epochs * len(few) * small_set + testing
            quick = plan.evaluations * plan.quick_networks * per_network
    return final, quick


def _few(data: CondensationData) -> LabelledImages:
    return LabelledImages(*data.train.draw_mixed(FEW, torch.Generator().manual_seed(0)))


class _UnknownError(Exception):
    """A schedule measures a loss, so that its zetas are unknown."""


class _NoLosses:
    def real(self) -> NoReturn:
        raise _UnknownError

    def synthetic(self) -> NoReturn:
        raise _UnknownError


def _zeta(condenser: Condenser, t: int, measured: float) -> float:
    # Zeta after update t; for a schedule that measures losses, the mean of the measured zetas.
    try:
        return sum(1 for _ in condenser.inner_loop.schedule(t, _NoLosses()))
    except _UnknownError:
        return measured
