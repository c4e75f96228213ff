"""Ranks candidates on a condensed set and on the whole set: `python -m gmlight.proxy run=<folder>`."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gmlight.applications.network_training import (
    NetworkTrainer,
    NetworkUnit,
    TrainedOn,
    train_networks,
    with_values,
)
from gmlight.applications.proxy import Measured, ProxyReport, compare, describe_reference
from gmlight.applications.proxy_report import best_table, failure_lines, plot_proxies, ranking_table
from gmlight.applications.search_space import Candidate, candidate_name, candidates
from gmlight.applications.time_estimate import print_estimate
from gmlight.artifacts import results
from gmlight.artifacts.condensed_set import CondensedDataset
from gmlight.artifacts.record import Invocation
from gmlight.artifacts.work_log import WorkLog
from gmlight.builders.part_errors import build_part
from gmlight.builders.parts import build_loggers
from gmlight.builders.stored_set import StoredSet, open_set, refuse_other_data
from gmlight.condensation import initialization
from gmlight.config.compose import choose
from gmlight.config.labels import describe_use
from gmlight.errors import ConfigError
from gmlight.reporting.loggers import log_use, use_labels
from gmlight.reporting.use_page import print_use_table, write_use_page
from gmlight.runtime.console import new_console, print_path
from gmlight.runtime.progress import show_progress
from gmlight.runtime.seeding import generator

REFERENCE = "whole set"


def proxy(config: DictConfig, folder: Path) -> None:
    """Trains all candidates on all sets, and reports how well each set ranks them.

    Args:
        config: of the command.
        folder: gets proxy.json, the plots and the page.
    """
    console, called = new_console(), describe_use(config)
    check_parts(config)
    stored = open_set(config, called, console)
    if (varied := config.space.get("architecture")) is not None:
        config.architecture = choose(config, "architecture", varied)
    space = list_candidates(config)
    sets = training_sets(config, stored)
    trainer, log = NetworkTrainer(config, sets, stored.data), WorkLog(Path(config.cache))
    units = [
        NetworkUnit(candidate, each.name, network)
        for each in sets
        for candidate in space
        for network in range(config.networks)
    ]
    console.print(f"{len(space)} candidates on {len(sets)} training sets: {len(units)} networks")
    if config.dry_run:
        print_estimate(trainer, units, log, config.jobs, console)
        return
    own, started = units[config.part :: config.parts], time.monotonic()
    with show_progress("training networks", "network", len(own), console) as progress:
        train_networks(trainer, own, log, config.jobs, progress)
    if config.parts > 1:
        console.print(f"part {config.part} of {config.parts} is trained; parts=1 reports, once all are")
        return
    measured = {each.name: measure(each, trainer, space, config.networks, log, stored) for each in sets}
    reference = measured.pop(REFERENCE)
    reports = [compare(each, reference, config.seed) for each in measured.values()]
    content = describe(called, space, measured.values(), reference, reports, stored)
    content["seconds"] = {"command": time.monotonic() - started}
    show(config, folder, called, content, list(measured.values()), reference, reports)


def check_parts(config: DictConfig) -> None:
    """Checks the keys that divide the work.

    Raises:
        ConfigError: the part is not one of the parts.
    """
    if not config.part < config.parts:
        raise ConfigError(f"part={config.part}: must be below parts={config.parts}")


def list_candidates(config: DictConfig) -> list[Candidate]:
    """Lists the candidates of the chosen space, each with values that are allowed.

    Raises:
        ConfigError: a key or a value of the space is not allowed.
    """
    space: Any = OmegaConf.to_container(config.space, resolve=True)
    draws = space.get("draws", 0)
    found = candidates(space.get("values") or {}, draws, generator(config.seed, "candidates"))
    for candidate in found:
        with_values(config, candidate)
    return found


def training_sets(config: DictConfig, stored: StoredSet) -> list[TrainedOn]:
    """Collects the proxies and, as the last one, the reference.

    Raises:
        ConfigError: a further set is not of the same dataset.
    """
    epochs, data = config.evaluation.epochs, stored.data
    sets = [TrainedOn(stored.metadata["method"], stored.images, epochs)]
    for path in config.others:
        other = CondensedDataset(path)
        try:
            refuse_other_data(other, data)
        except ConfigError as error:
            raise ConfigError(f"others: {path}: {error}") from None
        name = other.metadata.get("method", Path(path).name)
        if name in {each.name for each in sets}:
            name = f"{name} ({path})"
        sets.append(TrainedOn(name, other.labelled().to(stored.device), epochs))
    if config.proxies.random:
        rng = generator(config.seed, "random-baseline")
        chosen = initialization.random(data.train, config.ipc, rng)
        sets.append(TrainedOn("random images", chosen, epochs))
    if config.proxies.herding:
        herding = build_part("initialization", choose(config, "initialization", "herding"))
        chosen = herding(data.train, config.ipc, generator(config.seed, "initialization"))
        sets.append(TrainedOn("herding", chosen, epochs))
    if config.proxies.early_stop:
        sets.append(TrainedOn("early stop", None, epochs, epoch_images=len(stored.images)))
    return [*sets, TrainedOn(REFERENCE, None, config.reference.epochs)]


def measure(
    each: TrainedOn,
    trainer: NetworkTrainer,
    space: Sequence[Candidate],
    networks: int,
    log: WorkLog,
    stored: StoredSet,
) -> Measured:
    """Collects the outcomes of all candidates on one set from the log."""
    images = stored.data.train if each.images is None else each.images
    outcomes = []
    for candidate in space:
        keys = [trainer.key(NetworkUnit(candidate, each.name, i)) for i in range(networks)]
        found = [log.get(key) for key in keys]
        outcomes.append([outcome for outcome in found if outcome is not None])
    return Measured(each.name, len(images), 4 * images.floats, outcomes)


def describe(
    called: Invocation,
    space: Sequence[Candidate],
    measured: Any,
    reference: Measured,
    reports: Sequence[ProxyReport],
    stored: StoredSet,
) -> dict[str, Any]:
    """Collects the content of proxy.json."""
    return called.as_dict() | {
        "set": results.origin(stored.metadata),
        "data": stored.data.info.digest and stored.data.info.digest.as_dict(),
        "candidates": space,
        "reference": describe_reference(reference),
        "proxies": [each.as_dict() for each in reports],
        "accuracies": {
            each.name: [[outcome.accuracy for outcome in networks] for networks in each.outcomes]
            for each in (*measured, reference)
        },
        "failures": {
            each.name: {candidate_name(space[i]): reason for i, reason in each.failures.items()}
            for each in (*measured, reference)
        },
        "environment": results.environment(stored.device),
    }


def show(
    config: DictConfig,
    folder: Path,
    called: Invocation,
    content: dict[str, Any],
    measured: Sequence[Measured],
    reference: Measured,
    reports: Sequence[ProxyReport],
) -> None:
    """Writes the result, the plots and the page, prints the tables, and sends figures to dashboards."""
    console, names = new_console(), [candidate_name(each) for each in content["candidates"]]
    title = f"{config.dataset.name}, ipc {config.ipc}, {len(names)} candidates, n = {config.networks} each"
    best = best_table(reports)
    tables = [ranking_table(title, reports, content["reference"], names), *([best] if best else [])]
    for table in tables:
        print_use_table(table, console)
    for line in failure_lines(content["failures"]):
        console.print(line)
    picture = plot_proxies(title, measured, reference, folder / "proxy")
    path = results.write_json(folder / "proxy.json", content)
    subtitle = f"{content['set']['method']}, scale {content['set']['scale']}"
    page = write_use_page(folder / "proxy.html", title, subtitle, tables, picture, called.command)
    scores = {f"{each.name}/spearman": each.ranking.spearman for each in reports}
    log_use(build_loggers(config, folder, use_labels(title, called)), scores, picture, console)
    for name, file in (("result", path), ("picture", picture), ("page", page)):
        print_path(name, file, console)
