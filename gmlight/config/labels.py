"""Names of a run in tables: method, scale, architecture, protocol, and every departure from them."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from gmlight.artifacts.record import Invocation, RunRecord, named_with
from gmlight.config.experiment_cells import find_cells
from gmlight.config.overrides import ADDED_ON_RESUME, flat, override_key
from gmlight.runtime.paths import CONF_DIR

if TYPE_CHECKING:
    from gmlight.data.augmentation import NamedAugmentation

# The sizes that make a scale, and where the configuration holds what is used.
_SCALE_SIZES = {
    "iterations": "iterations",
    "real_batch": "real_batch",
    "networks": "evaluation.networks",
    "epochs": "evaluation.epochs",
}
_OF_NONE = {"synthetic": "pixels", "sampling": "random"}  # of the groups that no row of the paper chooses
_OF_THE_PAPER = ("random", "herding", "dc", "m", "md", "mdo", "mda", "whole")
_METHOD_GROUPS = ("matching", "distance", "schedule")
_OF_THE_DATASET = ("dataset.flip", "dataset.formation_factor")  # that have a part in S
# Keys and choices that a result shows by themselves, or that change no number.
_SHOWN_ELSEWHERE = {
    "against", "architecture", "augmentation", "callbacks", "cells", "checkpoint", "data_dir", "dataset",
    "diagnose_every", "download", "dry_run", "evaluation", "experiment", "hydra", "ipc", "iterations", "json",
    "log_every", "logger", "memory", "method", "real_batch", "rounds", "scale", "seed", "speed", "trainer",
}  # fmt: skip


def describe(config: DictConfig) -> RunRecord:
    """Records how a condensation was called, and names it for tables.

    Names say what departs from the method, the scale and the architecture. `departures` are those changes
    that keep a run out of the paper's tables: whatever is not a choice of a whole group.
    """
    called = _invocation(config)
    overrides, choices = called.overrides, called.choices
    # A method from a user's own folder may set anything.
    own_method = [] if choices["method"] in _OF_THE_PAPER else [f"method={choices['method']}"]
    protocol = [] if protocol_label(config) == "plain" else [f"protocol {protocol_label(config)}"]
    departures = _departures(config, overrides)
    departures += [word for word in _beyond(config, choices) if word not in departures]
    return RunRecord(
        **called.as_dict(),
        method=_method_label(config, choices, overrides),
        departures=departures + own_method + protocol,
        scale=_scale_label(config, overrides),
        architecture=architecture_label(choices["architecture"], overrides),
        protocol=protocol_label(config),
    )


def describe_use(config: DictConfig) -> Invocation:
    """Records how a command on a condensed set was called."""
    called = _invocation(config)
    # An augmentation chooses an initialization for runs that condense; it plays no part here.
    choices = {group: option for group, option in called.choices.items() if group != "initialization"}
    return replace(called, choices=choices)


def _invocation(config: DictConfig) -> Invocation:
    hydra_config = HydraConfig.get()
    overrides = [word for word in hydra_config.overrides.task if not word.startswith("resume=")]
    words = sys.argv[1:] if hydra_config.mode == RunMode.RUN else overrides
    if any(word.startswith("resume=") for word in words):
        words = [word for word in words if not word.startswith(ADDED_ON_RESUME)]
    return Invocation(
        command=shlex.join(["python", "-m", f"gmlight.{hydra_config.job.config_name}", *words]),
        overrides=overrides,
        choices={
            group: option
            for group, option in hydra_config.runtime.choices.items()
            if not group.startswith("hydra/")
        },
        config=cast(dict[str, Any], OmegaConf.to_container(config, resolve=True)),
    )


def protocol_label(config: DictConfig) -> str:
    """How networks are trained that are evaluated: `plain` as in the paper, `dsa`, or `dsa + cutmix`.

    Another augmentation has its own name. Accuracies under different protocols are not to be compared.
    """
    name = _build_augmentation(config).protocol
    if name == config.dataset.get("evaluation_augmentation", "none"):
        name = "plain"
    cutmix = config.evaluation.get("cutmix")
    return f"{name} + cutmix{'' if cutmix == 0.5 else f' {cutmix}'}" if cutmix else name


def protocol_epochs(config: DictConfig) -> int:
    """Of an evaluation network, by default: the dataset's, the augmentation's, or the scale's."""
    own = max(config.dataset.evaluation_epochs, config.augmentation.get("evaluation_epochs", 0))
    return min(filter(None, (own, config.scale.epochs)))


def augments_while_matching(config: DictConfig) -> bool:
    """Whether real and synthetic images are augmented while their gradients are matched, too."""
    return _build_augmentation(config).while_matching


def _build_augmentation(config: DictConfig) -> "NamedAugmentation":
    from gmlight.data.augmentation import as_augmentation  # loads torch, which is slow

    node = {str(key): value for key, value in config.augmentation.items() if key != "evaluation_epochs"}
    return as_augmentation(hydra.utils.instantiate(node, _convert_="all"))


def architecture_label(name: str, overrides: list[str]) -> str:
    """`convnet` with `architecture.width=64` -> `convnet, width=64`."""
    changed = [override.split(".", 1)[1] for override in overrides if override.startswith("architecture.")]
    return ", ".join([name, *changed])


def _scale_label(config: DictConfig, overrides: list[str]) -> str:
    # A size that is not the scale's is named, so that no reduced run passes for a full one.
    intended = dict(config.scale)
    intended["epochs"] = protocol_epochs(config)
    used = {size: OmegaConf.select(config, key) for size, key in _SCALE_SIZES.items()}
    if config.iterations == 0:  # nothing is condensed: those sizes play no part
        del used["iterations"], used["real_batch"]
    changed = [f"{_SCALE_SIZES[size]}={value}" for size, value in used.items() if value != intended[size]]
    protocol = [f"evaluation.{key}" for key in ("batch_size", "lr", "momentum", "weight_decay")] + [
        "augmentation"
    ]
    changed += [
        override
        for override in overrides
        if override_key(override).startswith(tuple(protocol))
        and not (
            override_key(override) == "augmentation" and augments_while_matching(config)
        )  # the protocol's name
    ]
    return named_with(config.scale.name, changed)


def _method_label(config: DictConfig, choices: dict[str, str], overrides: list[str]) -> str:
    bundle = read_bundle(choices["method"])
    defaults = {key.split("/")[-1]: option for entry in bundle["defaults"] for key, option in entry.items()}
    if config.iterations == 0:
        same = defaults.get("initialization") == choices["initialization"]
        options = [override for override in overrides if override.startswith("initialization.")]
        return named_with(choices["method"] if same else choices["initialization"], options)
    changed = _departures(config, overrides)
    swapped = [
        f"{group}={choices[group]}" for group in _METHOD_GROUPS if choices[group] != defaults.get(group)
    ]
    if (augments_while_matching(config) or "augmentation" in defaults) and choices[
        "augmentation"
    ] != defaults.get("augmentation"):
        swapped.append(f"augmentation={choices['augmentation']}")
    of_bundle = [f"{group}={option}" for group, option in (defaults | bundle).items()]
    known = [*changed, *swapped, *of_bundle]
    changed += [word for word in _beyond(config, choices) if word not in known]
    for cell in find_cells(config):
        changed += [f"{key}={value}" for key, value in flat(cell.get("set", {}))]
    return named_with(choices["method"], swapped + changed)


def _bundle_path(method: str) -> Path:
    return CONF_DIR / "method" / f"{method}.yaml"


def read_bundle(method: str) -> dict[str, Any]:
    # What the option says; one of one's own lies elsewhere.
    path = _bundle_path(method)
    content: Any = OmegaConf.to_container(OmegaConf.load(path)) if path.exists() else {"defaults": []}
    return content


def _beyond(config: DictConfig, choices: dict[str, str]) -> list[str]:
    # What the paper does not have, whoever has chosen it: the command line, a method, an experiment.
    if config.iterations == 0:
        return []
    found = [f"{group}={choices[group]}" for group, paper in _OF_NONE.items() if choices[group] != paper]
    if augments_while_matching(config):
        found.append(f"augmentation={choices['augmentation']}")
    if config.network_images != "synthetic":
        found.append(f"network_images={config.network_images}")
    return found


def _departures(config: DictConfig, overrides: list[str]) -> list[str]:
    keys = {override: override_key(override) for override in overrides}
    departures = [
        override
        for override, key in keys.items()
        if key in _OF_THE_DATASET or (key not in _METHOD_GROUPS and key.split(".")[0] not in _SHOWN_ELSEWHERE)
    ]
    if config.speed.precision != "float32":  # of all that concerns speed, this alone is inexact
        departures.append(f"speed.precision={config.speed.precision}")
    if config.holdout and "holdout" not in keys.values():  # an experiment's
        departures.append(f"holdout={config.holdout}")
    return departures
