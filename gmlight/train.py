"""Condenses a dataset: `python -m gmlight.train dataset=mnist ipc=1`."""

import functools
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import lightning
from omegaconf import DictConfig
from rich.console import Console

from gmlight import artifact, build, results
from gmlight.callbacks import (
    ProgressBar,
    QuickEvaluation,
    evaluate_sets,
    record_evaluation,
    save_samples,
)
from gmlight.checkpointing import LAST, PREVIOUS, AtomicCheckpointIO, Checkpoints, find_checkpoint
from gmlight.condenser import Condenser
from gmlight.config import blank_cell, command, describe, labels, refuse_several_in_a_sweep
from gmlight.data import CondensationData, LabelledImages
from gmlight.distributed import is_main, ranks
from gmlight.errors import ConfigError, NonFiniteError
from gmlight.interruption import Stopped, interruption
from gmlight.journal import Journal
from gmlight.loggers import closing_loggers, forget_from
from gmlight.resuming import claim, expand, finished_iterations, held
from gmlight.synthetic import flatten


def main() -> None:
    try:
        sys.argv[1:] = expand(sys.argv[1:])
    except ConfigError as error:
        sys.exit(f"gmlight: {error}")
    command(train, "train")


def train(config: DictConfig, folder: Path) -> None:
    """Condenses, evaluates, and leaves artifact, result, pictures and metrics in the run folder.

    With `resume` goes on with the folder's run. Of several processes rank 0 writes and prints.
    """
    goes_on, config.resume = config.resume is not None, None
    console, record = results.new_console(), describe(config)
    record |= labels(config, record)
    if reason := blank_cell(config):
        if is_main():
            results.write(folder, [], record | {"blank": reason})
        console.print(f"{results.headline(record)}: not applicable, {reason}")
        return
    factory = build.build_factory(config.architecture, config.dataset)
    data = build.build_data(config, statistics=build.needs_statistics(factory))
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
    trainer = build.build_trainer(
        config,
        logger=build.build_logger(config, folder),
        callbacks=[
            ProgressBar(config.iterations, config.updates, console),
            checkpoints,
            quick,
        ],
    )
    refuse_several_in_a_sweep(trainer.world_size)
    if trainer.world_size > 1 and not config.iterations:
        raise ConfigError("trainer.devices: nothing is condensed, one process evaluates; use trainer=auto")
    data.load(trainer.strategy.root_device)
    learned = build.build_start(config, data)
    condenser = None
    if config.iterations:
        condenser = build.build_condenser(config, learned, data, factory, compilation)
    baselines = build.build_baselines(config, data)
    with held(folder) if is_main() else nullcontext(), _resumable(trainer):
        checkpoint = find_start(folder, console) if goes_on else None
        if is_main():
            claim(folder, record, goes_on=goes_on)
        if goes_on:
            forget_after(folder, checkpoint, config, console)
        console.print(results.headline(record))

        keep = functools.partial(save, folder / "condensed", record, data, replace=goes_on)
        journal = (
            Journal(folder / "evaluation.jsonl", build.evaluation_protocol(config)) if is_main() else None
        )
        with closing_loggers(trainer):
            if condenser is not None:
                if checkpoint is None:
                    save_samples(folder, 0, condenser.synthetic.labelled(), data)
                learned = condense(trainer, condenser, data, keep, checkpoint)
                learned = learned.to(trainer.strategy.root_device)
            if isinstance(learned, LabelledImages):
                keep(learned, complete=True)

            started = time.monotonic()
            name = "condensed" if config.iterations else f"{record['method']} images"
            sets = [(name, learned, config.evaluation.networks), *baselines]
            rows = evaluate_sets(evaluators, sets, console, journal)
            evaluating = time.monotonic() - started
            if isinstance(learned, LabelledImages):
                record_evaluation(trainer, folder, config.iterations, learned, data, rows[0].accuracy)
        if condenser is not None:
            record["zeta_used"] = condenser.zeta_used
            record["speed"] = condenser.engine.describe()
        condensing = checkpoints.seconds - quick.seconds
        record["seconds"] = {"condensing": condensing, "evaluation": evaluating + quick.seconds}
        record["environment"] = results.environment(trainer.strategy.root_device)
        if is_main():
            if isinstance(learned, LabelledImages):
                own = [results.as_record(row) for row in rows if row.name == name]
                artifact.update_metadata(folder / "condensed", evaluations=own)
            results.write(folder, rows, record)
    ranks.leave()
    results.print_table(rows, record, console)
    results.print_path("run", folder, console)
    if (folder / "condensed").exists():
        results.print_path("picture", folder / "condensed" / artifact.GRID, console)


@contextmanager
def _resumable(trainer: lightning.Trainer) -> Iterator[None]:
    # From here on a run that is stopped can go on. Processes that this one has started end with it.
    try:
        yield
    except BaseException as error:
        if isinstance(error, Stopped):
            error.resumable = True
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


def condense(
    trainer: lightning.Trainer,
    condenser: Condenser,
    data: CondensationData,
    keep: Callable[..., Path],
    checkpoint: Path | None = None,
) -> LabelledImages:
    """S after its last update; where numbers go wrong, keeps the last good S and says so."""
    try:
        with interruption.deferred():
            trainer.fit(condenser, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except NonFiniteError as error:
        kept = keep(flatten(condenser.good_images), complete=False)
        raise ConfigError(f"{error}; the last good images are in {kept}") from None
    return condenser.synthetic.labelled()


def save(
    folder: Path,
    record: dict[str, Any],
    data: CondensationData,
    images: LabelledImages,
    *,
    complete: bool,
    replace: bool,
) -> Path:
    """Writes the artifact into the folder, where this is the process that writes.

    Args:
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
        complete=complete,
        replace=replace,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        environment=results.environment(images.images.device),
        **record,
    )
    return folder


if __name__ == "__main__":
    main()
