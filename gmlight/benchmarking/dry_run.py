"""A dry run: a few steps of everything, and from them what the whole will take. Nothing is written."""

import io
import statistics
import time
from dataclasses import dataclass, field
from typing import Any, NoReturn

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
from gmlight.runtime.profiling import PartTimer, measure_seconds
from gmlight.runtime.signals import ending_launched_processes
from gmlight.training.evaluator import EvaluatedSet, Evaluator

WARM_UP, STEPS = 1, 3  # image updates
EPOCHS = 4  # of a network on S
FEW = 256  # real images, where the whole set is too many
METRICS_LINE = 700  # bytes, about
CURVES = 400 * 2**10  # bytes, about, of a page without its pictures


@dataclass(frozen=True)
class Plan:
    """How often a run does what is rehearsed.

    evaluate_every, quick_networks: of the evaluations on the way; 0: none.
    """

    iterations: int
    updates: int
    evaluate_every: int
    quick_networks: int
    log_every: int

    @property
    def evaluations(self) -> int:
        """On the way; the one at the end is not among them."""
        return (self.iterations - 1) // self.evaluate_every if self.evaluate_every else 0


@dataclass
class Steps(lightning.Callback):
    """What each image update has taken: seconds, those of the network's training, and its zeta."""

    profile: PartTimer
    seconds: list[float] = field(default_factory=list)
    of_network: list[float] = field(default_factory=list)
    zetas: list[float] = field(default_factory=list)

    def on_train_batch_start(self, trainer: lightning.Trainer, *args: Any) -> None:
        self.profile.seconds.clear()
        self._started = time.perf_counter()

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, *args: Any) -> None:
        zeta = module.metrics["zeta"].item()  # which waits for the device
        self.seconds.append(time.perf_counter() - self._started)
        self.of_network.append(self.profile.seconds.get("network", 0.0))
        self.zetas.append(zeta)


def condensing_seconds(steps: Steps, condenser: Condenser, plan: Plan) -> tuple[float, float]:
    """Of one image update without the network's training, and of all K*T updates with it."""
    every = list(zip(steps.seconds, steps.of_network, steps.zetas, strict=True))
    rows = every[WARM_UP:] or every
    matching = statistics.median(seconds - network for seconds, network, _ in rows)
    zetas = sum(zeta for *_, zeta in rows)
    of_zeta = sum(network for _, network, _ in rows) / zetas if zetas else 0.0
    measured = zetas / sum(zeta > 0 for *_, zeta in rows) if zetas else 0.0
    trained = sum(_zeta(condenser, t, measured) for t in range(plan.updates - 1))
    return matching, plan.iterations * (plan.updates * matching + trained * of_zeta)


def evaluation_seconds(evaluator: Evaluator, images: LabelledImages, networks: int) -> tuple[float, float]:
    """Of training one network on one image once, and of testing it."""
    shorter = evaluator.with_epochs(EPOCHS)
    device = evaluator.data.test.device
    members = list(range(min(evaluator.together(images), networks)))
    with explain_out_of_memory(
        "the training of evaluation networks", "evaluation.networks_at_once", lambda: len(members)
    ):
        ensemble = shorter.trained(images, members)  # to warm up
        training = measure_seconds(lambda: shorter.trained(images, members), device) / len(members)
    with explain_out_of_memory(
        "the test", "evaluation.test_batch", lambda: evaluator.test_batch or len(images)
    ):
        evaluator.accuracies(ensemble, networks)
        testing = measure_seconds(lambda: evaluator.accuracies(ensemble, networks), device) / len(members)
    return training / EPOCHS / len(images), testing


def disk_bytes(condenser: Condenser, images: LabelledImages, data: CondensationData, plan: Plan) -> int:
    """About what a run folder will hold at most: set, two checkpoints, pictures, page, metrics."""
    of_set = images.images.nbytes
    network = condenser.inner_loop.factory() if plan.updates > 1 else None
    # A checkpoint has it only where it is written between two updates of one network.
    of_network = 0 if network is None else 2 * sum(p.nbytes for p in network.parameters())  # and momentum
    buffer = io.BytesIO()
    draw_grid(images, data.info).save(buffer, "PNG")
    of_picture, pictures = buffer.tell(), plan.evaluations + 2
    on_page = min(pictures, PICTURES, max(2, PICTURES_BYTES // of_picture)) * of_picture * 4 // 3
    lines = plan.iterations * plan.updates // plan.log_every
    checkpoints = 2 * (3 * of_set + of_network)  # S, its momentum, the last good S
    return of_set + checkpoints + (pictures + 1) * of_picture + on_page + CURVES + lines * METRICS_LINE


def rehearse(run: Run, config: DictConfig) -> None:
    """Makes a few steps of a run and prints what the whole run will take; writes nothing.

    Args:
        run: ready to start, without loggers.
        config: from which it was built.
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
            trainer.fit(run.condenser, datamodule=run.data)
            images = run.condenser.synthetic.labelled().to(device)
        report(run, steps, images, plan)
    ranks.shut_down()


def report(run: Run, steps: Steps | None, images: TrainingSet, plan: Plan) -> None:
    """Prints what the whole run will take, after a few of its steps.

    Args:
        run: whose steps were made.
        steps: what they took; None if nothing is condensed.
        images: the synthetic set, or the set that is only evaluated.
        plan: how often the run does what was measured.
    """
    device, condenser = run.trainer.strategy.root_device, run.condenser
    data, console = run.data, run.console
    sets = [run.evaluation.start._replace(name="the set", images=images), *run.evaluation.baselines]

    def line(what: str, value: str, said: str = "") -> None:
        console.print(f"{what:<15} {value:<16} {said}".rstrip(), soft_wrap=True)

    console.print("dry run: all of it can run as it is; nothing was written")
    if condenser is not None and steps is not None:
        matching, whole = condensing_seconds(steps, condenser, plan)
        line("an image update", f"{matching:.3g} s", "without the network's training")
        sampling = data.sampling_seconds(plan.iterations)
        of_sampling = f"; {format_duration(sampling)} of it chooses real batches" if sampling else ""
        line(
            "condensing",
            format_duration(whole + sampling),
            f"K={plan.iterations}, T={plan.updates}{of_sampling}",
        )
    seconds, quick = _all_evaluation_seconds(run, sets, plan)
    counts = ", ".join(f"{n} on {name}" for name, _, n in sets)
    line("evaluating", format_duration(seconds), f"networks: {counts}")
    if quick:
        line(
            "on the way",
            format_duration(quick),
            f"evaluations: {plan.evaluations} of {plan.quick_networks} networks",
        )
    line("memory", f"{peak_bytes(device) / 2**30:.2f} GiB", "at most, so far")
    if condenser is not None and isinstance(images, LabelledImages):
        disk = disk_bytes(condenser, images, data, plan)
        line("disk", f"{disk / 2**20:.1f} MiB", "about, at most, in the run folder")


def _all_evaluation_seconds(run: Run, sets: list[EvaluatedSet], plan: Plan) -> tuple[float, float]:
    # Of the final evaluation, and of the evaluations during condensation.
    own = sets[0]
    few = own.images if isinstance(own.images, LabelledImages) else _few(run.data)
    final, quick = 0.0, 0.0
    for i, evaluator in enumerate(run.evaluation.evaluators.values()):
        protocol = evaluator.protocol
        per_image, testing = evaluation_seconds(evaluator, few, own.networks)
        large = [each for each in sets if len(each.images) > protocol.sgd.batch_size]
        # Full mini-batches take less time an image than those of a small set.
        per_image_of_large = per_image
        if large:
            per_image_of_large, _ = evaluation_seconds(evaluator, _few(run.data), large[0].networks)
        for each in sets:
            seconds = per_image_of_large if len(each.images) > protocol.sgd.batch_size else per_image
            final += each.networks * (protocol.epochs * len(each.images) * seconds + testing)
        if i == 0 and run.condenser is not None:
            per_network = protocol.epochs * len(few) * per_image + testing
            quick = plan.evaluations * plan.quick_networks * per_network
    return final, quick


def _few(data: CondensationData) -> LabelledImages:
    return LabelledImages(*data.train.draw_mixed(FEW, torch.Generator().manual_seed(0)))


class _UnknownError(Exception):
    """A schedule asks for a loss."""


class _NoLosses:
    def real(self) -> NoReturn:
        raise _UnknownError

    def synthetic(self) -> NoReturn:
        raise _UnknownError


def _zeta(condenser: Condenser, t: int, measured: float) -> float:
    # As the schedule says; one that looks at losses: as was measured.
    try:
        return sum(1 for _ in condenser.inner_loop.schedule(t, _NoLosses()))
    except _UnknownError:
        return measured
