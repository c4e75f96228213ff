"""Condenses a dataset: `python -m gmlight.train dataset=mnist ipc=1`."""

import functools
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gmlight.artifacts import condensed_set, results, set_files
from gmlight.artifacts.accuracy_log import AccuracyLog
from gmlight.artifacts.checkpoint_io import naming_write_errors
from gmlight.artifacts.decoding import Stored
from gmlight.artifacts.results import Evaluation
from gmlight.artifacts.run_folder import RunFolder
from gmlight.builders.run import Run, build_run
from gmlight.callbacks.evaluation import metrics_of_all, record_evaluation
from gmlight.callbacks.page import mend_page
from gmlight.config.experiment_cells import blank_cell
from gmlight.config.labels import describe
from gmlight.config.origin import code_versions, read_origin, record_origin, refuse_changed_data
from gmlight.config.resume import already_finished, claim, refuse_changes
from gmlight.data.images import LabelledImages, TrainingSet
from gmlight.errors import ConfigError, NonFiniteError
from gmlight.reporting.loggers import closing_loggers, dashboard_locations, log_artifact
from gmlight.reporting.tables import print_table
from gmlight.runtime.console import new_console, print_path
from gmlight.runtime.distributed import ranks
from gmlight.runtime.processes import ending_launched_processes, naming_lost_processes
from gmlight.runtime.rank import is_main
from gmlight.runtime.signals import resumable, signal_handler


def train(config: DictConfig, path: Path) -> float | None:
    """Condenses a dataset, evaluates the set, and writes the set and its accuracies to the run folder.

    With several processes, only rank 0 writes and prints.

    Args:
        config: the composed configuration; if `resume` is set, the run in the folder is resumed.
        path: the run folder.

    Returns:
        Mean test accuracy of the set on the first architecture, in percent; None if the experiment skips
        this configuration.
    """
    resumed, config.resume = config.resume is not None, None
    folder, record, console = RunFolder(path), describe(config), new_console()
    if reason := blank_cell(config):
        if is_main() and not resumed:
            results.write_result(folder, record, [], {"blank": reason})
        console.print(f"{record.headline}: not applicable, {reason}")
        return None
    if resumed:
        mend_page(folder, record, console)
    if resumed and already_finished(folder, record.config):
        console.print(f"{record.headline}: already finished")
        return results.read_accuracy(folder)
    with resumable(folder.config):
        run = build_run(config, folder, record, console, resumed=resumed)
    page, trainer = run.callbacks.page, run.trainer
    only_this_process = folder.locked() if is_main() else nullcontext()
    with (
        only_this_process,
        page.showing_errors(),
        resumable(folder.config),
        ending_launched_processes(trainer.strategy, page.show_lost_process),
        naming_lost_processes(path),
        naming_write_errors(folder),
    ):
        checkpoint = claim_folder(run)
        console.print(record.headline)
        with closing_loggers(trainer):
            images = condense(run, checkpoint)
            page.show_evaluating()
            evaluations = evaluate(run, images)
            dashboards = dict(dashboard_locations(trainer.loggers))
        page.show_finished()
    ranks.shut_down()
    print_outcome(run, evaluations, dashboards)
    return evaluations[0].accuracy.mean


def claim_folder(run: Run) -> Path | None:
    """Claims the run folder, and prepares the folder of a resumed run.

    Returns:
        The checkpoint to resume from; None: the run starts at its first update.
    """
    folder, config = run.folder, run.record.config
    notify = functools.partial(run.console.print, soft_wrap=True)
    digest = run.data.info.digest
    assert digest is not None
    if run.resumed:
        refuse_changes(folder, config)  # first: they may be why the data changed
        refuse_changed_data(folder, digest)
    checkpoint = folder.find_checkpoint(notify) if run.resumed else None
    if is_main():
        claim(folder, run.record, resumed=run.resumed)
        record_origin(folder, digest, code_versions(config), notify)
        if run.resumed:
            step = folder.rewind(checkpoint, iterations=config["iterations"], updates=config["updates"])
            run.console.print(f"resumed after image update {step}")
    return checkpoint


def condense(run: Run, checkpoint: Path | None) -> TrainingSet:
    """Learns the synthetic set and writes it to the run folder.

    Args:
        run: ready to start.
        checkpoint: to resume from; None: the run starts at its first update.

    Returns:
        The set after its last update, on the trainer's device; with iterations=0, the initial images.

    Raises:
        ConfigError: a loss, gradient or image was not finite (the run folder has the last finite set), a
            callback stopped the training early, or the checkpoint does not fit.
    """
    if run.condenser is None:
        chosen = run.evaluation.start.images
        if isinstance(chosen, LabelledImages):
            save_set(run, chosen, None, complete=True)
        return chosen
    synthetic = run.condenser.synthetic
    try:
        with signal_handler.deferred():
            run.trainer.fit(run.condenser, datamodule=run.data, ckpt_path=checkpoint, weights_only=True)
    except NonFiniteError as error:
        good = run.condenser.last_good
        save_set(run, good.labelled(), good.stored(), complete=False)
        raise ConfigError(f"{error}; the last good images are in {run.folder.condensed}") from None
    except ConfigError:
        raise
    except Exception as error:  # Lightning and torch raise many types for states that do not fit
        if checkpoint is None or run.callbacks.checkpoints.started:
            raise
        reason = next(filter(None, str(error).splitlines()), type(error).__name__)
        raise ConfigError(f"{checkpoint}: does not fit the run ({reason}); start a new run") from None
    trainer = run.trainer
    if trainer.global_step < trainer.max_steps:
        done = f"{trainer.global_step} of {trainer.max_steps}"
        raise ConfigError(
            f"a callback stopped the run after image update {done}; resume={run.folder.path} continues it"
        )
    learned = synthetic.labelled().to(run.trainer.strategy.root_device)
    save_set(run, learned, synthetic.stored(), complete=True)
    return learned


def save_set(run: Run, images: LabelledImages, stored: Stored | None, *, complete: bool) -> None:
    """Writes the condensed set to the run folder; only rank 0 writes.

    Args:
        run: the set's run.
        images: the set.
        stored: tensors from which the images are decoded; None: the images themselves are stored.
        complete: whether all iterations are done.
    """
    if not is_main():
        return
    metadata = {
        "complete": complete,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "environment": results.environment(images.images.device),
        **run.record.as_dict(),
    }
    condensed_set.write(
        run.folder.condensed, images, run.data.info, metadata, stored=stored, replace=run.resumed
    )


def evaluate(run: Run, images: TrainingSet) -> list[Evaluation]:
    """Evaluates the set and its baselines, logs the accuracies, and writes the run's result.

    Args:
        run: after `condense`.
        images: the set after its last update.

    Returns:
        Evaluations of the set on each architecture, then of the baselines.
    """
    log = AccuracyLog(run.folder.accuracy_log, run.evaluation.protocol) if is_main() else None
    evaluations = run.evaluation(images, run.console, log)
    if isinstance(images, LabelledImages):
        publish_set(run, images, evaluations)
    if log is not None:
        results.write_result(run.folder, run.record, evaluations, measured(run, log.seconds))
    return evaluations


def publish_set(run: Run, images: LabelledImages, evaluations: Sequence[Evaluation]) -> None:
    """Adds the accuracies to the stored set, and sends both to dashboards; only rank 0 writes.

    Args:
        run: the set's run.
        images: the set after its last update.
        evaluations: of the set on each architecture, then of the baselines.
    """
    name = run.evaluation.start.name
    accuracies = [each.as_dict() for each in evaluations if each.name == name]
    if is_main():
        condensed_set.update_metadata(run.folder.condensed, evaluations=accuracies)
    iterations, metrics = run.record.config["iterations"], metrics_of_all(evaluations)
    record_evaluation(run.trainer, run.folder, iterations, images, run.data.info, metrics)
    accuracy = accuracies[0]["accuracy"]
    log_artifact(run.trainer.loggers, run.folder.condensed, run.record, accuracy)


def measured(run: Run, evaluation_seconds: float) -> dict[str, Any]:
    """Collects what a result holds besides accuracies: zetas, speed, data, code, seconds, environment.

    Args:
        run: after its evaluation.
        evaluation_seconds: duration of the final evaluation.
    """
    quick, found = run.callbacks.quick_evaluation, {}
    if run.condenser is not None:
        found = {"zeta_used": run.condenser.zeta_used, "speed": run.condenser.matcher.engine.describe()}
    return found | {
        **read_origin(run.folder),
        "seconds": {
            "condensing": run.callbacks.checkpoints.seconds - quick.seconds,
            "evaluation": quick.seconds + evaluation_seconds,
        },
        "environment": results.environment(run.trainer.strategy.root_device),
    }


def print_outcome(run: Run, evaluations: Sequence[Evaluation], dashboards: Mapping[str, str]) -> None:
    """Prints the accuracies and the locations of the run's files and dashboards.

    Args:
        run: after its end.
        evaluations: of the set, then of the baselines.
        dashboards: location of the run on each dashboard, by the dashboard's name.
    """
    console = run.console
    print_table(evaluations, run.record.headline, console)
    print_path("run", run.folder.path, console)
    print_path("page", run.folder.page, console)
    for name, place in dashboards.items():
        print_path(name, place, console)
    if run.folder.condensed.exists():
        print_path("picture", run.folder.condensed / set_files.GRID, console)
