"""Condenses a dataset: `python -m gmlight.train dataset=mnist ipc=1`."""

import functools
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import lightning
from omegaconf import DictConfig
from rich.console import Console

from gmlight import artifact, build, rehearsal, results
from gmlight.artifact import CondensedDataset
from gmlight.callbacks import (
    MetricsLines,
    ProgressBar,
    QuickEvaluation,
    RunPage,
    all_accuracies,
    evaluate_sets,
    record_evaluation,
    save_samples,
)
from gmlight.checkpointing import LAST, PREVIOUS, AtomicCheckpointIO, Checkpoints, find_checkpoint
from gmlight.command import command, refuse_several_in_a_sweep
from gmlight.condenser import Condenser
from gmlight.config import blank_cell, describe, labels
from gmlight.data import CondensationData, LabelledImages, TrainingSet
from gmlight.distributed import is_main, ranks
from gmlight.errors import ConfigError, NonFiniteError
from gmlight.evaluation import Evaluator
from gmlight.forms import Stored
from gmlight.interruption import Stopped, interruption
from gmlight.journal import Journal
from gmlight.loggers import about, closing_loggers, forget_from, log_artifact, places
from gmlight.measuring import Parts as Timed
from gmlight.naming import base_name
from gmlight.page import PAGE
from gmlight.results import Row
from gmlight.resuming import already_finished, claim, expand, finished_iterations, held


def main() -> None:
    try:
        sys.argv[1:] = expand(sys.argv[1:])
    except ConfigError as error:
        sys.exit(f"gmlight: {error}")
    command(train, "train")


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


def train(config: DictConfig, folder: Path) -> float | None:
    """Condenses, evaluates, and leaves artifact, result, pictures and metrics in the run folder.

    With `resume` goes on with the folder's run. Of several processes rank 0 writes and prints.

    Returns:
        Mean test accuracy of the set on the first architecture, in percent; null: the cell is blank.
    """
    goes_on, config.resume = config.resume is not None, None
    console, record = results.new_console(), describe(config)
    record |= labels(config, record)
    if reason := blank_cell(config):
        if is_main() and not goes_on and not config.dry_run:
            results.write(folder, [], record | {"blank": reason})
        console.print(f"{results.headline(record)}: not applicable, {reason}")
        return None
    if goes_on and already_finished(folder, record["config"]):
        console.print(f"{results.headline(record)}: finished already")
        return results.read_accuracy(folder)
    if config.dry_run:
        if goes_on:
            raise ConfigError("dry_run=true: is for a new run; leave out resume=")
        rehearse(config, folder, record, console)
        return None
    parts = prepare(config, folder, record, console, goes_on=goes_on)
    alone = held(folder) if is_main() else nullcontext()
    with alone, parts.page.saying_why(), _resumable(parts.trainer):
        checkpoint = find_start(folder, console) if goes_on else None
        if is_main():
            claim(folder, record, goes_on=goes_on)
        if goes_on:
            forget_after(folder, checkpoint, config, console)
        console.print(results.headline(record))
        with closing_loggers(parts.trainer):
            keep = functools.partial(save, folder / "condensed", record, parts.data, replace=goes_on)
            learned = condense(parts, folder, keep, checkpoint)
            parts.page.evaluate()
            rows = evaluate(parts, learned, config, folder, record, console)
            if is_main():
                hand_over(parts.trainer, learned, folder, rows, record)
            dashboards = dict(places(parts.trainer.loggers))
        parts.page.finish()
    ranks.leave()
    results.print_table(rows, record, console)
    results.print_path("run", folder, console)
    results.print_path("page", folder / PAGE, console)
    for name, place in dashboards.items():
        results.print_path(name, place, console)
    if (folder / "condensed").exists():
        results.print_path("picture", folder / "condensed" / artifact.GRID, console)
    return rows[0].accuracy.mean


def prepare(
    config: DictConfig, folder: Path, record: dict[str, Any], console: Console, *, goes_on: bool = False
) -> Parts:
    """Builds the parts and loads the data.

    Args:
        record: of `config.describe`, with its labels.
        goes_on: whether the folder has this run's beginning.
    """
    factory = build.build_factory(config.architecture, config.dataset)
    data = build.build_matched_data(config, factory)
    compilation = build.build_compilation(config, console.print)
    evaluators = build.build_evaluators(config, data, record["architecture"], compilation, console)
    target = build.evaluation_architecture(config.architecture, config.evaluation.batch_norm)
    checkpoints = Checkpoints(
        folder / "checkpoints", config.checkpoint.every, config.evaluation.every, config.checkpoint.minutes
    )
    quick = QuickEvaluation(
        build.build_evaluator(config, target, data, compilation),
        config.evaluation.every,
        config.evaluation.quick_networks,
        folder,
        console,
    )
    page = RunPage(folder, record, data.classes, config.iterations, config.updates, console)
    trainer = build.build_trainer(
        config,
        logger=build.build_loggers(config, folder, about(record)),
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
    data.load(trainer.strategy.root_device)
    chosen = folder / "condensed"
    if goes_on and not config.iterations and chosen.exists():
        # What was chosen stays chosen: networks may have been evaluated on it already.
        start: TrainingSet = LabelledImages.of(CondensedDataset(chosen)).to(data.train.device)
    else:
        start = build.build_start(config, data, console)
    condenser = None
    if config.iterations:
        condenser = build.build_condenser(config, start, data, factory, compilation)
    baselines = build.build_baselines(config, data)
    return Parts(trainer, data, start, condenser, evaluators, baselines, checkpoints, quick, page)


def rehearse(config: DictConfig, folder: Path, record: dict[str, Any], console: Console) -> None:
    """Builds everything, does a few steps of it, and prints what the whole will take."""
    config.logger = {}
    parts, steps = prepare(config, folder, record, console), None
    trainer = parts.trainer
    device = trainer.strategy.root_device
    console.print(results.headline(record))
    if parts.condenser is not None:
        steps = rehearsal.Steps(Timed(device))
        updates = min(rehearsal.WARM_UP + rehearsal.STEPS, config.iterations * config.updates)
        trainer = build.build_trainer(config, callbacks=[steps], profiler=steps.profile, updates=updates)
    plan = rehearsal.Plan(
        iterations=config.iterations,
        updates=config.updates,
        evaluate_every=config.evaluation.every,
        quick_networks=config.evaluation.quick_networks,
        log_every=config.log_every,
    )
    with _ending_together(trainer):
        images: TrainingSet = parts.start
        if parts.condenser is not None:
            trainer.fit(parts.condenser, datamodule=parts.data)
            images = parts.condenser.synthetic.labelled().to(device)
        sets = [("the set", images, config.evaluation.networks), *parts.baselines]
        rehearsal.report(
            device, steps, parts.condenser, images, parts.data, parts.evaluators, sets, plan, console
        )
    ranks.leave()


@contextmanager
def _resumable(trainer: lightning.Trainer) -> Iterator[None]:
    # From here on a run that is stopped can go on.
    with _ending_together(trainer):
        try:
            yield
        except Stopped as stopped:
            stopped.resumable = True
            raise


@contextmanager
def _ending_together(trainer: lightning.Trainer) -> Iterator[None]:
    # Processes that this one has started end with it.
    try:
        yield
    except BaseException:
        if trainer.strategy.launcher is not None:
            trainer.strategy.launcher.kill(signal.SIGTERM)
        raise


def find_start(folder: Path, console: Console) -> Path | None:
    """The checkpoint from which the folder's run goes on; none: from its beginning.

    Raises:
        ConfigError: none can be read; or the run is finished and there is none.
    """
    checkpoint, unreadable = find_checkpoint(folder / "checkpoints")
    for line in unreadable:
        console.print(f"{line}; the one before it is used", soft_wrap=True)
    iterations = finished_iterations(folder)
    if checkpoint is None and iterations:
        raise ConfigError(f"{folder}: the run is finished and has no checkpoint any more; start a new run")
    return checkpoint


def forget_after(folder: Path, checkpoint: Path | None, config: DictConfig, console: Console) -> None:
    """Takes away what was left after the checkpoint, for it comes again; a damaged one above all."""
    step = 0 if checkpoint is None else AtomicCheckpointIO().load_checkpoint(checkpoint)["global_step"]
    console.print(f"goes on after image update {step}")
    if not is_main():
        return
    if checkpoint is not None and checkpoint.name == PREVIOUS:
        checkpoint.with_name(LAST).unlink(missing_ok=True)
    forget_from(folder, step, evaluated=step < config.iterations * config.updates)
    for picture in (folder / "samples").glob("*.png"):
        if int(picture.stem) * config.updates > step:
            picture.unlink()


def condense(parts: Parts, folder: Path, keep: Callable[..., Path], checkpoint: Path | None) -> TrainingSet:
    """S after its last update, kept in the folder; where numbers go wrong, the last good S is kept."""
    if parts.condenser is not None:
        condenser, trainer = parts.condenser, parts.trainer
        if checkpoint is None:
            save_samples(folder, 0, condenser.synthetic.labelled(), parts.data)
        try:
            with interruption.deferred():
                trainer.fit(condenser, datamodule=parts.data, ckpt_path=checkpoint, weights_only=True)
        except NonFiniteError as error:
            good = condenser.last_good
            kept = keep(good.labelled(), good.stored(), complete=False)
            raise ConfigError(f"{error}; the last good images are in {kept}") from None
        synthetic = condenser.synthetic
        learned = synthetic.labelled().to(trainer.strategy.root_device)
        keep(learned, synthetic.stored(), complete=True)
        return learned
    if isinstance(parts.start, LabelledImages):
        keep(parts.start, None, complete=True)
    return parts.start


def evaluate(
    parts: Parts,
    learned: TrainingSet,
    config: DictConfig,
    folder: Path,
    record: dict[str, Any],
    console: Console,
) -> list[Row]:
    """Accuracies of S and of what is beside it; the record gets what the run has taken and used."""
    journal = Journal(folder / "evaluation.jsonl", build.evaluation_protocol(config)) if is_main() else None
    name = "condensed" if config.iterations else f"{base_name(record['method'])} images"
    sets = [(name, learned, config.evaluation.networks), *parts.baselines]
    rows = evaluate_sets(parts.evaluators, sets, console, journal)
    if isinstance(learned, LabelledImages):
        record_evaluation(parts.trainer, folder, config.iterations, learned, parts.data, all_accuracies(rows))
    if parts.condenser is not None:
        record["zeta_used"] = parts.condenser.zeta_used
        record["speed"] = parts.condenser.engine.describe()
    record["seconds"] = {
        "condensing": parts.checkpoints.seconds - parts.quick.seconds,
        "evaluation": parts.quick.seconds + (journal.seconds if journal is not None else 0.0),
    }
    record["environment"] = results.environment(parts.trainer.strategy.root_device)
    return rows


def hand_over(
    trainer: lightning.Trainer, learned: TrainingSet, folder: Path, rows: list[Row], record: dict[str, Any]
) -> None:
    """The outcome: the set with its accuracies, in the run folder and on the dashboards, and the result."""
    if isinstance(learned, LabelledImages):
        own = [results.as_record(row) for row in rows if row.name == rows[0].name]
        artifact.update_metadata(folder / "condensed", evaluations=own)
        log_artifact(trainer.loggers, folder / "condensed", record, own[0]["accuracy"])
    results.write(folder, rows, record)


def save(
    folder: Path,
    record: dict[str, Any],
    data: CondensationData,
    images: LabelledImages,
    stored: Stored | None,
    *,
    complete: bool,
    replace: bool,
) -> Path:
    """Writes the artifact into the folder, where this is the process that writes.

    Args:
        stored: what is kept in the place of the images; null: these.
        complete: whether S is the outcome of all its iterations.
        replace: whether what is there already is this run's own, from before it went on.
    """
    if not is_main():
        return folder
    artifact.write(
        folder,
        images.images,
        images.labels,
        classes=data.classes,
        mean=data.mean,
        std=data.std,
        stored=stored,
        complete=complete,
        replace=replace,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        environment=results.environment(images.images.device),
        **record,
    )
    return folder


if __name__ == "__main__":
    main()
