"""Evaluates a condensed set: `python -m gmlight.evaluate run=<folder> architecture=mlp`."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from gmlight.applications.budget import budget_table, measure_budget, parse_bytes
from gmlight.artifacts import results
from gmlight.artifacts.accuracy_log import AccuracyLog
from gmlight.artifacts.record import headline
from gmlight.artifacts.run_folder import RunFolder
from gmlight.builders.evaluators import build_baselines, evaluation_protocol
from gmlight.builders.stored_set import StoredSet, open_set
from gmlight.config.compose import option_changes
from gmlight.config.implied import as_words
from gmlight.config.labels import IDC_PROTOCOL, describe_use, follows_idc, is_in, protocol_epochs
from gmlight.config.literal import literal
from gmlight.config.overrides import flat
from gmlight.errors import ConfigError
from gmlight.reporting.tables import print_table
from gmlight.reporting.use_page import print_use_table
from gmlight.runtime.console import new_console, print_path
from gmlight.training.evaluator import EvaluatedSet, evaluate_sets


def evaluate(config: DictConfig, folder: Path) -> None:
    """Trains fresh networks on the set, prints their accuracies, and writes them to the folder.

    Args:
        config: the set's configuration with the changes of the command line.
        folder: of the evaluation.
    """
    console, called = new_console(), describe_use(config)
    if config.memory_limit is not None:
        parse_bytes(config.memory_limit, "memory_limit")
        if not config.budget:
            raise ConfigError("memory_limit: limits the trainings of budget=true; add that")
    stored = open_set(config, called, console)
    log = AccuracyLog(
        RunFolder(folder).accuracy_log, logged_protocol(config, stored), interrupted_evaluations(folder)
    )
    sets = [
        EvaluatedSet(stored.name, stored.images, config.evaluation.networks),
        *build_baselines(config, stored.data),
    ]
    evaluations = evaluate_sets(stored.evaluators, sets, console, log)
    measured: dict[str, Any] = {
        "set": results.origin(stored.metadata),
        "changed": changed(config, stored.metadata["config"], called.choices["augmentation"])
        + ["other test images"] * (stored.same_test_images is False),
        "data": stored.data.info.digest and stored.data.info.digest.as_dict(),
        "seconds": {"evaluation": log.seconds},
        "environment": results.environment(stored.device),
    }
    if config.budget:
        limit = None if config.memory_limit is None else parse_bytes(config.memory_limit, "memory_limit")
        images = stored.images.to(torch.device("cpu"))
        costs = measure_budget(config, images, limit, config.budget_epochs)
        measured["budget"] = [asdict(cost) for cost in costs]
    path = results.write_result(RunFolder(folder), called, evaluations, measured)
    print_table(evaluations, headline(stored.metadata), console)
    if config.budget:
        print_use_table(budget_table(costs), console)
    print_path("result", path, console)


def interrupted_evaluations(folder: Path) -> list[Path]:
    """Finds the logs of evaluations beside this one that have no result: their networks are not repeated."""
    logs = [RunFolder(path).accuracy_log for path in sorted(folder.parent.iterdir()) if path != folder]
    return [log for log in logs if log.is_file() and not RunFolder(log.parent).result.exists()]


def logged_protocol(config: DictConfig, stored: StoredSet) -> dict[str, Any]:
    """Returns what the accuracies of an evaluation depend on besides set, architecture and network."""
    digest = stored.data.info.digest
    return evaluation_protocol(config) | {
        "data": digest and digest.identity(),
        "environment": results.environment(stored.device),
    }


def changed(config: DictConfig, original: dict[str, Any], augmentation: str | None) -> list[str]:
    """Lists the settings that affect accuracies and differ from the run that made the set.

    The list leaves out the architecture, which has a column in tables, and the augmentation and the epochs
    that the protocol's name implies.

    Args:
        config: of this evaluation.
        original: the configuration of the run that made the set.
        augmentation: the chosen option; None: the augmentation of that run.

    Returns:
        Settings as `key=value`.
    """
    now, before = (
        dict(flat(evaluation_protocol(each))) for each in (config, OmegaConf.create(literal(original)))
    )
    named = ["architecture", "augmentation", "dataset", "cutmix"]
    if config.evaluation.epochs == protocol_epochs(config):
        named.append("epochs")
    if follows_idc(config):
        named += IDC_PROTOCOL
    return as_words(option_changes(config, "augmentation", augmentation, original)) + [
        f"{key}={now.get(key)}"
        for key in sorted(now.keys() | before.keys())
        if (now.get(key) or 0) != (before.get(key) or 0)  # older sets lack some keys
        and not is_in(key, named)
    ]
