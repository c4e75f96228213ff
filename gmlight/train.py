"""Condenses a dataset: `python -m gmlight.train dataset=mnist ipc=1`."""

import functools
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import lightning
from omegaconf import DictConfig
from rich.console import Console

from gmlight.artifacts import condensed_set, results
from gmlight.artifacts.accuracy_log import Journal
from gmlight.artifacts.decoding import Stored
from gmlight.artifacts.record import base_name, headline
from gmlight.artifacts.results import Row
from gmlight.artifacts.run_folder import find_start, forget_after, held
from gmlight.benchmarking import dry_run
from gmlight.builders.evaluators import evaluation_protocol
from gmlight.builders.run import Parts, prepare
from gmlight.builders.trainer import build_trainer
from gmlight.callbacks.evaluation import all_accuracies, record_evaluation, save_samples
from gmlight.config.command_line import command
from gmlight.config.experiment_cells import blank_cell
from gmlight.config.labels import describe
from gmlight.config.resume import already_finished, claim, expand
from gmlight.data.datamodule import CondensationData
from gmlight.data.images import LabelledImages, TrainingSet
from gmlight.errors import ConfigError, NonFiniteError
from gmlight.reporting.loggers import closing_loggers, log_artifact, places
from gmlight.reporting.run_page import PAGE
from gmlight.reporting.tables import print_table
from gmlight.runtime.console import new_console, print_path
from gmlight.runtime.distributed import is_main, ranks
from gmlight.runtime.profiling import Parts as Timed
from gmlight.runtime.signals import Stopped, interruption
from gmlight.training.evaluator import evaluate_sets


def main() -> None:
    try:
        sys.argv[1:] = expand(sys.argv[1:])
    except ConfigError as error:
        sys.exit(f"gmlight: {error}")
    command(train, "train")


def train(config: DictConfig, folder: Path) -> float | None:
    """Condenses, evaluates, and leaves artifact, result, pictures and metrics in the run folder.

    With `resume` goes on with the folder's run. Of several processes rank 0 writes and prints.

    Returns:
        Mean test accuracy of the set on the first architecture, in percent; null: the cell is blank.
    """
    goes_on, config.resume = config.resume is not None, None
    console, record = new_console(), describe(config).as_dict()
    if reason := blank_cell(config):
        if is_main() and not goes_on and not config.dry_run:
            results.write(folder, [], record | {"blank": reason})
        console.print(f"{headline(record)}: not applicable, {reason}")
        return None
    if goes_on and already_finished(folder, record["config"]):
        console.print(f"{headline(record)}: finished already")
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
            forget_after(folder, checkpoint, config.iterations, config.updates, console)
        console.print(headline(record))
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
    print_table(rows, record, console)
    print_path("run", folder, console)
    print_path("page", folder / PAGE, console)
    for name, place in dashboards.items():
        print_path(name, place, console)
    if (folder / "condensed").exists():
        print_path("picture", folder / "condensed" / condensed_set.GRID, console)
    return rows[0].accuracy.mean


def rehearse(config: DictConfig, folder: Path, record: dict[str, Any], console: Console) -> None:
    """Builds everything, does a few steps of it, and prints what the whole will take."""
    config.logger = {}
    parts, steps = prepare(config, folder, record, console), None
    trainer = parts.trainer
    device = trainer.strategy.root_device
    console.print(headline(record))
    if parts.condenser is not None:
        steps = dry_run.Steps(Timed(device))
        updates = min(dry_run.WARM_UP + dry_run.STEPS, config.iterations * config.updates)
        trainer = build_trainer(config, callbacks=[steps], profiler=steps.profile, updates=updates)
    plan = dry_run.Plan(
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
        dry_run.report(
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
    journal = Journal(folder / "evaluation.jsonl", evaluation_protocol(config)) if is_main() else None
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
        condensed_set.update_metadata(folder / "condensed", evaluations=own)
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
    condensed_set.write(
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
