"""Learns classes in steps with a memory of a few images each: `python -m gmlight.continual dataset=mnist`."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig

from gmlight.applications.continual import score
from gmlight.applications.continual_report import continual_table, plot_curves
from gmlight.artifacts import results
from gmlight.artifacts.checkpoint_io import naming_write_errors
from gmlight.artifacts.record import RunRecord
from gmlight.artifacts.run_folder import RunFolder
from gmlight.benchmarking.dry_run import rehearse
from gmlight.builders.parts import build_loggers
from gmlight.commands.learner import MEMORIES, Learned, Learner, LearningUnit, make_learner
from gmlight.config.labels import describe
from gmlight.config.resume import claim
from gmlight.errors import ConfigError
from gmlight.reporting.loggers import log_use, use_labels
from gmlight.reporting.use_page import print_use_table, write_use_page
from gmlight.runtime.console import format_duration, new_console, pluralize, print_path
from gmlight.runtime.progress import ProgressCallback, show_progress
from gmlight.runtime.signals import resumable
from gmlight.runtime.worker_pool import Died, work_in_processes

RESULT = "continual.json"


def continual(config: DictConfig, path: Path) -> None:
    """Learns every order with every memory, and reports accuracies after each step.

    Args:
        config: of the command; if `resume` is set, the command in the folder is resumed.
        path: gets continual.json, the plot, the page, and a run folder for each condensed step.
    """
    resumed, config.resume = config.resume is not None, None
    folder, record, console = RunFolder(path), describe(config), new_console()
    units = list_units(config)
    if (path / RESULT).exists():
        raise ConfigError(f"{path}: is finished, see {RESULT}; start a new one")
    learner = Learner(config, record, path)
    steps = len(learner.tasks(0))
    networks = pluralize(config.evaluation.networks, "network")
    console.print(f"{record.headline}: {len(units)} times {pluralize(steps, 'step')}, {networks} each")
    if config.dry_run:
        first = learner.tasks(0)[0]
        one = rehearse(learner.build_step(first, 0, 0), learner.step_config(first))
        condensed = sum(unit.memory == "condensed" for unit in units) * steps
        # Networks train on the memory of all steps so far: on one part, then on two, and so on.
        parts = len(units) * steps * (steps + 1) // 2
        seconds = condensed * one.condensing + parts * one.evaluating
        of_steps = pluralize(condensed, "condensed step")
        trained = pluralize(len(units) * steps * config.evaluation.networks, "network")
        line = f"so much for one step; {format_duration(seconds)} for {of_steps} and {trained}"
        console.print(line, soft_wrap=True)
        return
    started = time.monotonic()
    with naming_write_errors(folder):
        with folder.locked(), resumable(folder.config):
            claim(folder, record, resumed=resumed)
            with show_progress("learning", "step", len(units) * steps, console) as progress:
                learned = dict(learn(learner, units, config.jobs, progress))
        content = record.as_dict() | {
            "memories": summarize(learned),
            "tasks": [[task.name for task in learner.tasks(order)] for order in range(orders(config))],
            "seconds": {"command": time.monotonic() - started},
            "environment": results.environment(learner.device),
        }
        show(config, path, record, content)


def list_units(config: DictConfig) -> list[LearningUnit]:
    """Lists the orders and memories.

    Raises:
        ConfigError: `memories` is not a list of memories.
    """
    memories = config.memories
    named = [memories] if isinstance(memories, str) else memories
    if not (isinstance(named, list | ListConfig) and named and set(named) <= set(MEMORIES)):
        raise ConfigError(f"memories={memories}: must be some of [{','.join(MEMORIES)}]")
    return [LearningUnit(order, memory) for memory in dict.fromkeys(named) for order in range(orders(config))]


def orders(config: DictConfig) -> int:
    """Returns the number of orders; datasets are learned in the order in which they are named."""
    return 1 if config.datasets else config.orders


def learn(
    learner: Learner, units: Sequence[LearningUnit], jobs: int, progress: ProgressCallback
) -> Iterator[tuple[LearningUnit, Learned]]:
    """Learns all orders with all memories.

    Args:
        learner: learns one order with one memory.
        units: orders and memories.
        jobs: number of processes; 1: this one.
        progress: called with the number of steps done.

    Raises:
        ConfigError: a process died.
    """
    steps = len(learner.tasks(0))
    if jobs == 1:
        for done, unit in enumerate(units):
            yield unit, learner(unit, partial(_report_step, progress, done * steps))
        return
    done = 0
    for unit, learned in work_in_processes(make_learner, learner.settings(), units, jobs):
        if isinstance(learned, Died):
            raise ConfigError(f"order {unit.order}, memory {unit.memory}: {learned}; continue with resume=")
        done += steps
        progress(done)
        yield unit, learned


def _report_step(progress: ProgressCallback, done: int, step: float) -> None:
    progress(done + step)


def summarize(learned: Mapping[LearningUnit, Learned]) -> dict[str, Any]:
    """Computes the scores of each memory, by its name: for each order, with accuracies and storage."""
    summary: dict[str, Any] = {}
    for unit, found in sorted(learned.items()):
        scores = score(found.accuracies, found.test_images)
        summary.setdefault(unit.memory, []).append(asdict(scores) | found._asdict() | {"order": unit.order})
    return summary


def show(config: DictConfig, path: Path, record: RunRecord, content: dict[str, Any]) -> None:
    """Writes the result, the plot and the page, prints the table, and sends figures to dashboards."""
    console = new_console()
    title = f"{record.headline}, n = {orders(config)} x {config.evaluation.networks}"
    table = continual_table(title, content["memories"])
    print_use_table(table, console)
    picture = plot_curves(title, content["memories"], path / "continual")
    result = results.write_json(path / RESULT, content)
    page = write_use_page(
        path / "continual.html", title, "Accuracy on everything seen so far", [table], picture, record.command
    )
    scores = {
        f"{memory}/average": sum(each["average"] for each in rows) / len(rows)
        for memory, rows in content["memories"].items()
    }
    log_use(build_loggers(config, path, use_labels(title, record)), scores, picture, console)
    for name, file in (("result", result), ("picture", picture), ("page", page)):
        print_path(name, file, console)
