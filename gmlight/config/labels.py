"""Records how a run was called, and labels it for tables: method, scale, protocol, departures."""

import contextlib
import shlex
import sys
from dataclasses import replace
from typing import Any, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from gmlight.artifacts.record import Invocation, RunRecord, named_with
from gmlight.config.answers import answer
from gmlight.config.experiment_cells import find_cells
from gmlight.config.overrides import ADDED_ON_RESUME, flat, last_of_each_key, override_key
from gmlight.runtime.paths import CONF_DIR

# Each size of a scale -> the key whose value the run uses.
_SCALE_SIZES = {
    "iterations": "iterations",
    "real_batch": "real_batch",
    "networks": "evaluation.networks",
    "epochs": "evaluation.epochs",
}
_PAPER_OPTIONS = {"synthetic": "pixels", "sampling": "random"}  # groups with one option in the paper
_PAPER_METHODS = ("random", "herding", "dc", "m", "md", "mdo", "mda", "whole")
_METHOD_GROUPS = ("matching", "distance", "schedule")
_DATASET_DEPARTURES = ("dataset.flip", "dataset.formation_factor")  # keys that change the synthetic set
# Keys and groups that a result shows elsewhere, or that change no result.
_SHOWN_ELSEWHERE = {
    "against", "architecture", "augmentation", "callbacks", "cells", "checkpoint", "data_dir", "dataset",
    "diagnose_every", "download", "dry_run", "evaluation", "experiment", "hydra", "ipc", "iterations", "json",
    "log_every", "logger", "memory", "method", "real_batch", "rounds", "scale", "seed", "speed", "trainer",
    "trust",
}  # fmt: skip


def describe(config: DictConfig) -> RunRecord:
    """Records how a condensation was called, and labels it for tables.

    Labels name the changes to the method, the scale and the architecture. `departures` lists the changes that
    keep a run out of the paper's tables, such as `distance.weight=2`.
    """
    called = _invocation(config)
    overrides, choices = called.overrides, called.choices
    # A user-defined method may set any key.
    custom_method = [] if choices["method"] in _PAPER_METHODS else [f"method={choices['method']}"]
    protocol = [] if protocol_label(config) == "plain" else [f"protocol {protocol_label(config)}"]
    departures = _departures(config, overrides)
    departures += [word for word in _extensions(config, choices) if word not in departures]
    return RunRecord(
        **called.as_dict(),
        method=_method_label(config, choices, overrides),
        departures=departures + custom_method + protocol,
        scale=_scale_label(config, overrides),
        architecture=architecture_label(choices["architecture"], overrides),
        protocol=protocol_label(config),
    )


def describe_use(config: DictConfig) -> Invocation:
    """Records how a command that uses a condensed set was called."""
    called = _invocation(config)
    # An augmentation also chooses an initialization, which such a command does not use.
    choices = {group: option for group, option in called.choices.items() if group != "initialization"}
    return replace(called, choices=choices)


def _invocation(config: DictConfig) -> Invocation:
    hydra_config = HydraConfig.get()
    overrides = last_of_each_key(
        word for word in hydra_config.overrides.task if not word.startswith("resume=")
    )
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
    """Names the evaluation protocol: `plain` as in the paper, or by its augmentation, such as `dsa + cutmix`.

    Accuracies under different protocols cannot be compared.
    """
    name = _ask_augmentation(config, "protocol") or answer(config.augmentation, "__name__", "unknown")
    if name == config.dataset.get("evaluation_augmentation", "none"):
        name = "plain"
    cutmix = config.evaluation.get("cutmix")
    return f"{name} + cutmix{'' if cutmix == 0.5 else f' {cutmix}'}" if cutmix else name


def protocol_epochs(config: DictConfig) -> int:
    """Returns the default epochs of an evaluation network, limited by the scale."""
    epochs = max(config.dataset.evaluation_epochs, config.augmentation.get("evaluation_epochs", 0))
    return min(filter(None, (epochs, config.scale.epochs)))


def augments_while_matching(config: DictConfig) -> bool:
    """Whether the augmentation also applies to the images whose gradients are matched."""
    return bool(_ask_augmentation(config, "while_matching"))


def _ask_augmentation(config: DictConfig, question: str) -> Any:
    value = answer(config.augmentation, question, None)
    if not isinstance(value, property):
        return value
    # Only the built augmentation knows; one that cannot be built is refused later, in one line.
    with contextlib.suppress(Exception):
        node = {str(key): value for key, value in config.augmentation.items() if key != "evaluation_epochs"}
        return getattr(hydra.utils.instantiate(node, _convert_="all"), question)
    return None


def architecture_label(name: str, overrides: list[str]) -> str:
    """Labels an architecture with its changed options: `convnet, width=64`.

    Args:
        name: the chosen option of `architecture`.
        overrides: of the command line, such as `architecture.width=64`.
    """
    changed = [override.split(".", 1)[1] for override in overrides if override.startswith("architecture.")]
    return ", ".join([name, *changed])


def _scale_label(config: DictConfig, overrides: list[str]) -> str:
    # Names every size that differs from the scale's, so that a reduced run is never taken for a full one.
    intended = dict(config.scale)
    intended["epochs"] = protocol_epochs(config)
    used = {size: OmegaConf.select(config, key) for size, key in _SCALE_SIZES.items()}
    if config.iterations == 0:  # nothing is condensed, so these sizes are unused
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
        )  # the protocol names it
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
    from_bundle = [f"{group}={option}" for group, option in (defaults | bundle).items()]
    named = [*changed, *swapped, *from_bundle]
    changed += [word for word in _extensions(config, choices) if word not in named]
    for cell in find_cells(config):
        changed += [f"{key}={value}" for key, value in flat(cell.get("set", {}))]
    return named_with(choices["method"], swapped + changed)


def read_bundle(method: str) -> dict[str, Any]:
    """Reads the choices and values of a method from conf/; a user-defined method has no choices there."""
    path = CONF_DIR / "method" / f"{method}.yaml"
    content: Any = OmegaConf.to_container(OmegaConf.load(path)) if path.exists() else {"defaults": []}
    return content


def _extensions(config: DictConfig, choices: dict[str, str]) -> list[str]:
    # Choices that the paper does not have, from the command line, a method or an experiment.
    if config.iterations == 0:
        return []
    found = [
        f"{group}={choices[group]}" for group, paper in _PAPER_OPTIONS.items() if choices[group] != paper
    ]
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
        if key in _DATASET_DEPARTURES
        or (key not in _METHOD_GROUPS and key.split(".")[0] not in _SHOWN_ELSEWHERE)
    ]
    if config.speed.precision != "float32":  # the only inexact setting of speed
        departures.append(f"speed.precision={config.speed.precision}")
    if config.holdout and "holdout" not in keys.values():  # set by an experiment
        departures.append(f"holdout={config.holdout}")
    return departures
