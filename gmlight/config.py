"""The door between Hydra and the program: where conf/ is, what a configuration says, what a run is called."""

import contextlib
import logging
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from gmlight.allocator import keep_large_blocks
from gmlight.checks import check
from gmlight.errors import ConfigError
from gmlight.naming import named_with

# Inside an installed package conf/ lies in it, in a checkout beside it.
_HERE = Path(__file__).resolve().parent
CONF_DIR = next(folder for folder in (_HERE / "conf", _HERE.parent / "conf") if folder.is_dir())

# The sizes that make a scale, and where the configuration holds what is used.
_SCALE_SIZES = {
    "iterations": "iterations",
    "real_batch": "real_batch",
    "networks": "evaluation.networks",
    "epochs": "evaluation.epochs",
}
# What `resume=` puts into a command line besides the words of the run that goes on.
PUT_IN = ("resume=", "hydra.run.dir=", "hydra.mode=")
_OF_NONE = {"synthetic": "pixels", "sampling": "random"}  # of the groups that no row of the paper chooses
_OF_THE_PAPER = ("random", "herding", "dc", "m", "md", "mdo", "mda", "whole")
_METHOD_GROUPS = ("matching", "distance", "schedule")
_OF_THE_DATASET = ("dataset.flip", "dataset.formation_factor")  # that have a part in S
# Keys and choices that a result shows by themselves, or that change no number.
_SHOWN_ELSEWHERE = {
    "against", "architecture", "augmentation", "cells", "checkpoint", "data_dir", "dataset", "diagnose_every",
    "download", "dry_run", "evaluation", "experiment", "hydra", "ipc", "iterations", "json", "log_every",
    "logger", "memory", "method", "real_batch", "rounds", "scale", "seed", "speed", "trainer",
}  # fmt: skip


def register_resolvers() -> None:
    """What conf/ computes: min and max pass over null, div rounds down; stamp names a new folder."""
    resolvers: dict[str, Callable[..., Any]] = {
        "min": lambda *values: min(value for value in values if value is not None),
        "max": lambda *values: max(value for value in values if value is not None),
        "mul": lambda a, b: a * b,
        "div": lambda a, b: a // b,
        "half": lambda a: -(-a // 2),
    }
    for name, function in resolvers.items():
        OmegaConf.register_new_resolver(name, function, replace=True)
    OmegaConf.register_new_resolver("stamp", _stamp, replace=True, use_cache=True)


def _stamp() -> str:
    # The process besides the time: no two runs of a machine begin in the same folder.
    return f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}-{os.getpid()}"


def describe(config: DictConfig) -> dict[str, Any]:
    """What was asked for, as plain containers: the command, the choices, the resolved configuration."""
    hydra_config = HydraConfig.get()
    overrides = [word for word in hydra_config.overrides.task if not word.startswith("resume=")]
    words = sys.argv[1:] if hydra_config.mode == RunMode.RUN else overrides
    if any(word.startswith("resume=") for word in words):
        words = [word for word in words if not word.startswith(PUT_IN)]
    words = ["python", "-m", f"gmlight.{hydra_config.job.config_name}", *words]
    choices = {
        group: option
        for group, option in hydra_config.runtime.choices.items()
        if not group.startswith("hydra/")
    }
    return {
        "command": shlex.join(words),
        "overrides": overrides,
        "choices": choices,
        "config": OmegaConf.to_container(config, resolve=True),
    }


def choose(config: DictConfig, group: str, option: str) -> DictConfig:
    """The node of an option that was not chosen, its references resolved in this configuration.

    Raises:
        ConfigError: there is no such option.
    """
    try:
        with contextlib.ExitStack() as stack:
            if not GlobalHydra.instance().is_initialized():
                stack.enter_context(hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"))
            node = hydra.compose("train", [f"{group}={option}"])[group]
    except HydraException as error:
        raise ConfigError(" ".join(str(error).split("Config search path")[0].split())) from None
    return OmegaConf.create({"dataset": config.dataset, group: OmegaConf.to_container(node)})[group]


def with_overrides(overrides: list[str]) -> DictConfig:
    """The configuration of this command line with these overrides besides.

    Raises:
        ConfigError: one of them is wrong.
    """
    hydra_config = HydraConfig.get()
    try:
        config = hydra.compose(hydra_config.job.config_name, [*hydra_config.overrides.task, *overrides])
    except HydraException as error:
        raise ConfigError(" ".join(str(error).split())) from None
    settle(config)
    return config


def labels(config: DictConfig, record: dict[str, Any]) -> dict[str, Any]:
    """What a condensation is called in tables; what departs from method, scale, architecture is named.

    `departures` are those that keep it out of the paper's tables: whatever is not a choice of a whole group.
    """
    overrides, choices = record["overrides"], record["choices"]
    # A method of one's own may say anything.
    own = [] if choices["method"] in _OF_THE_PAPER else [f"method={choices['method']}"]
    protocol = [] if protocol_label(config) == "plain" else [f"protocol {protocol_label(config)}"]
    departures = _departures(config, overrides)
    departures += [word for word in _beyond(config, choices) if word not in departures]
    return {
        "method": _method_label(config, choices, overrides),
        "departures": departures + own + protocol,
        "scale": _scale_label(config, overrides),
        "architecture": architecture_label(choices["architecture"], overrides),
        "protocol": protocol_label(config),
    }


def protocol_label(config: DictConfig) -> str:
    """How networks are trained that are evaluated: `plain` as in the paper, `dsa`, or `dsa + cutmix`.

    Another augmentation has its own name. Accuracies under different protocols are not to be compared.
    """
    name = config.augmentation["_target_"].rpartition(".")[2]
    if config.augmentation["_target_"] == "gmlight.siamese.Siamese":
        name = "dsa"
    elif name == config.dataset.get("evaluation_augmentation", "none"):
        name = "plain"
    cutmix = config.evaluation.get("cutmix")
    return f"{name} + cutmix{'' if cutmix == 0.5 else f' {cutmix}'}" if cutmix else name


def protocol_epochs(config: DictConfig) -> int:
    """Of an evaluation network, by default: the dataset's, the augmentation's, or the scale's."""
    own = max(config.dataset.evaluation_epochs, config.augmentation.get("evaluation_epochs", 0))
    return min(filter(None, (own, config.scale.epochs)))


def is_siamese(config: DictConfig) -> bool:
    """Whether the augmentation is one that is also used while matching, as `siamese.Siamese` is."""
    return hasattr(hydra.utils.get_object(config.augmentation["_target_"]), "of_update")


def architecture_label(name: str, overrides: list[str]) -> str:
    """`convnet` with `architecture.width=64` -> `convnet, width=64`."""
    changed = [override.split(".", 1)[1] for override in overrides if override.startswith("architecture.")]
    return ", ".join([name, *changed])


def instantiate(node: Any, *args: Any, **keywords: Any) -> Any:
    """Builds what the node's `_target_` names, from plain containers."""
    return hydra.utils.instantiate(node, *args, **keywords, _convert_="all")


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
        and not (override_key(override) == "augmentation" and is_siamese(config))  # the protocol's name
    ]
    return named_with(config.scale.name, changed)


def _method_label(config: DictConfig, choices: dict[str, str], overrides: list[str]) -> str:
    bundle = _bundle(choices["method"])
    defaults = {key.split("/")[-1]: option for entry in bundle["defaults"] for key, option in entry.items()}
    if config.iterations == 0:
        same = defaults.get("initialization") == choices["initialization"]
        options = [override for override in overrides if override.startswith("initialization.")]
        return named_with(choices["method"] if same else choices["initialization"], options)
    changed = _departures(config, overrides)
    swapped = [
        f"{group}={choices[group]}" for group in _METHOD_GROUPS if choices[group] != defaults.get(group)
    ]
    if (is_siamese(config) or "augmentation" in defaults) and choices["augmentation"] != defaults.get(
        "augmentation"
    ):
        swapped.append(f"augmentation={choices['augmentation']}")
    of_bundle = [f"{group}={option}" for group, option in (defaults | bundle).items()]
    known = [*changed, *swapped, *of_bundle]
    changed += [word for word in _beyond(config, choices) if word not in known]
    for cell in _cells_here(config):
        changed += [f"{key}={value}" for key, value in flat(cell.get("set", {}))]
    return named_with(choices["method"], swapped + changed)


def _bundle_path(method: str) -> Path:
    return CONF_DIR / "method" / f"{method}.yaml"


def _bundle(method: str) -> dict[str, Any]:
    # What the option says; one of one's own lies elsewhere.
    path = _bundle_path(method)
    content: Any = OmegaConf.to_container(OmegaConf.load(path)) if path.exists() else {"defaults": []}
    return content


def _beyond(config: DictConfig, choices: dict[str, str]) -> list[str]:
    # What the paper does not have, whoever has chosen it: the command line, a method, an experiment.
    if config.iterations == 0:
        return []
    found = [f"{group}={choices[group]}" for group, paper in _OF_NONE.items() if choices[group] != paper]
    if is_siamese(config):
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


def flat(node: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """{distance: {weight: 0.1}} -> ("distance.weight", 0.1)."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def override_key(override: str) -> str:
    """`+distance.weight=2` -> `distance.weight`."""
    return override.lstrip("+~").split("=")[0].split("@")[0]


def prepare_process(config: DictConfig) -> None:
    """What holds for the whole process, before anything large is allocated: allocator, Lightning's notes."""
    if config.speed.allocator == "auto":
        keep_large_blocks()
    _quieten_lightning()
    # cuDNN's own default is TF32 for convolutions, whose results have three digits. The settings' names are
    # those that every torch since 1.7 has; some releases ask for newer ones.
    warnings.filterwarnings("ignore", message=".*new API settings to control TF32.*")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def _quieten_lightning() -> None:
    # Its notes that say nothing about a run.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",  # batches are drawn from a tensor in this process
        ".*ModelCheckpoint with manual optimization.*",  # after the step is when a checkpoint is wanted
        ".*Experiment logs directory .* exists and is not empty.*",  # this run's own config.yaml
        ".*isinstance\\(treespec, LeafSpec\\).*",
        ".*`srun` command is available.*",  # to run where there is a Slurm, but not in it, is no mistake
    ):
        warnings.filterwarnings("ignore", message=message)


def settle(config: DictConfig) -> None:
    """Completes a composed configuration and refuses what it may not be, before anything uses it."""
    settle_cell(config)
    _refuse_to_condense_a_coreset(config)
    name_classes(config)
    check(config)


def _refuse_to_condense_a_coreset(config: DictConfig) -> None:
    # It would be a method with another initialization, under this one's name.
    method = HydraConfig.get().runtime.choices.get("method")
    if method is not None and config.iterations and _bundle(method).get("iterations") == 0:
        raise ConfigError(
            f"method={method}: nothing is condensed; leave out iterations=, or use method=mda with an "
            "initialization="
        )


def settle_cell(config: DictConfig) -> None:
    """Where the command line is a cell that its experiment has at other values, sets these."""
    for cell in _cells_here(config):
        config.merge_with(cell.get("set", {}))


def blank_cell(config: DictConfig) -> str | None:
    """Why its experiment leaves this cell blank; null: it does not."""
    return next((cell.blank for cell in _cells_here(config) if "blank" in cell), None)


def _cells_here(config: DictConfig) -> list[DictConfig]:
    choices = HydraConfig.get().runtime.choices

    def here(key: str) -> str:
        return str(choices[key] if key in choices else OmegaConf.select(config, key))

    return [
        cell
        for cell in config.get("cells", [])
        if all(here(key) in map(str, values) for key, values in cell.when.items())
    ]


def data_root(config: DictConfig) -> str | None:
    """The folder a dataset is read from: its own root where it has that key, else the data folder."""
    return config.dataset.root if "root" in config.dataset else config.data_dir


def name_classes(config: DictConfig) -> None:
    """Fills in the class names where only the files know them; refuses others than theirs."""
    if "find_classes" not in config.dataset:
        return
    found = instantiate(config.dataset.find_classes)(data_root(config))
    if config.dataset.classes is None:
        config.dataset.classes = found
    elif list(config.dataset.classes) != found:
        raise ConfigError(f"dataset.classes={config.dataset.classes}: the files hold the classes {found}")
