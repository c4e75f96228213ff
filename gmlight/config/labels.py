"""Records how a run was called, and labels it for tables: method, scale, protocol, departures."""

import contextlib
import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from gmlight.artifacts.record import Invocation, RunRecord, named_with
from gmlight.config.answers import answer
from gmlight.config.implied import COMPARED_GROUPS, as_words, differences, is_built_in, read_reference
from gmlight.config.overrides import ADDED_ON_RESUME, last_of_each_key
from gmlight.config.trainer_keys import PASSED_ON
from gmlight.runtime.paths import CONF_DIR

_PAPER_METHODS = ("random", "herding", "dc", "m", "md", "mdo", "mda", "whole")
_METHOD_GROUPS = ("matching", "distance", "schedule")  # the paper compares their options
# Keys that a scale sets; its label names the values that differ from it.
_SIZES = ("iterations", "real_batch", "evaluation.networks", "evaluation.epochs")
# How evaluation networks are trained; the label of the scale names the values that differ.
_PROTOCOL = ("augmentation", "evaluation")
IDC_PROTOCOL = ("batch_size", "cutmix", "falls", "fall")  # keys that evaluation=idc sets, besides epochs
# Keys, or groups of keys, that change the synthetic set and the accuracies by rounding at most. Labels leave
# them out; they name every other key.
NEUTRAL = (
    "against", "carry", "cells", "checkpoint", "data_dir", "dataset.cache", "dataset.path", "dataset.root",
    "datasets", "diagnose_every", "distillation", "download", "dry_run", "evaluation.baselines",
    "evaluation.every", "evaluation.networks_at_once", "evaluation.quick_networks", "evaluation.test_batch",
    "jobs", "json", "log_every", "logger", "memories", "memory", "orders", "resume", "rounds",
    "speed.allocator", "speed.classes_per_block", "speed.compile", "speed.microbatch", "steps",
    "trainer._partial_", "trainer._target_", "trust",
    *(f"trainer.{key}" for key in sorted(PASSED_ON - {"plugins"})),
)  # fmt: skip
# Keys that results show in another place, and keys that act only through such a key.
SHOWN_ELSEWHERE = (
    *_SIZES, "architecture", "augmentation.evaluation_epochs", "dataset.evaluation_epochs", "dataset.name",
    "evaluation.architectures", "evaluation.cutmix", "ipc", "method", "scale", "seed",
)  # fmt: skip
# Lightning's callbacks that only watch.
_OBSERVERS = tuple(
    f"lightning.pytorch.callbacks.{name}"
    for name in ("DeviceStatsMonitor", "ModelSummary", "RichModelSummary", "ThroughputMonitor", "Timer")
)


def describe(config: DictConfig) -> RunRecord:
    """Records how a condensation was called, and labels it for tables.

    Labels compare the resolved values with what the choices alone compose. They name the changes to the
    method, the scale and the architecture. `departures` lists the changes that keep a run out of the paper's
    tables, such as `distance.weight=2`.
    """
    called = _invocation(config)
    choices, reference = called.choices, read_reference(config, called.choices)
    changes, protocol = differences(config, reference.config), protocol_label(config)
    swapped = _swapped_options(config, choices, reference.options)
    of_protocol = _protocol_changes(config, changes, choices)
    of_method = as_words(
        {
            key: value
            for key, value in changes.items()
            if not is_in(key, NEUTRAL + SHOWN_ELSEWHERE + _PROTOCOL + _observers(config))
        }
    )
    compared = {f"{group}={choices[group]}" for group in _METHOD_GROUPS if is_built_in(group, choices[group])}
    custom = [] if choices["method"] in _PAPER_METHODS else [f"method={choices['method']}"]
    named = [] if protocol == "plain" else [f"protocol {protocol}"]
    return RunRecord(
        **called.as_dict(),
        method=_method_label(config, choices, reference.options, swapped, of_method),
        departures=[
            *(word for word in swapped if word not in compared), *of_method, *of_protocol, *custom, *named
        ],
        scale=named_with(choices["scale"], _size_changes(config, reference.config) + of_protocol),
        architecture=architecture_label(choices["architecture"], changes),
        protocol=protocol,
    )  # fmt: skip


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
    precision = config.evaluation.get("precision", "float32")
    inexact = "" if precision == "float32" else f" in {precision}"
    if follows_idc(config):
        return f"idc{inexact}"
    name = _augmentation_protocol(config)
    if name == "idc":
        name = "idc augmentation"
    cutmix = config.evaluation.get("cutmix")
    mixed = f" + cutmix{'' if cutmix == 0.5 else f' {cutmix}'}" if cutmix else ""
    return f"{name}{mixed}{inexact}"


def follows_idc(config: DictConfig) -> bool:
    """Whether evaluation networks train as with `augmentation=idc evaluation=idc`, in any precision."""
    if _augmentation_protocol(config) != "idc":
        return False
    node: Any = OmegaConf.load(CONF_DIR / "evaluation" / "idc.yaml")
    protocol = OmegaConf.create(
        {"evaluation": node, "dataset": config.dataset, "scale": config.scale}
    ).evaluation
    return all(config.evaluation.get(key) == protocol[key] for key in IDC_PROTOCOL)


def _augmentation_protocol(config: DictConfig) -> str:
    # Its name; `plain` is the dataset's own augmentation.
    name = _ask_augmentation(config, "protocol") or answer(config.augmentation, "__name__", "unknown")
    return "plain" if name == config.dataset.get("evaluation_augmentation", "none") else name


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


def _observers(config: DictConfig) -> tuple[str, ...]:
    # Keys of callbacks that change nothing.
    nodes: Any = OmegaConf.to_container(config.get("callbacks") or OmegaConf.create({}))
    return tuple(
        f"callbacks.{name}"
        for name, node in nodes.items()
        if isinstance(node, dict) and node.get("_target_") in _OBSERVERS
    )


def architecture_label(name: str, changes: Mapping[str, Any]) -> str:
    """Labels an architecture with its changed values: `convnet, width=64`.

    Args:
        name: the chosen option of `architecture`.
        changes: values that differ from those of the option, by key, such as `architecture.width`.
    """
    own = {key.partition(".")[2]: value for key, value in changes.items() if is_in(key, ["architecture"])}
    return ", ".join(last_of_each_key([*name.split(", "), *as_words(own)]))


def is_in(key: str, keys: Iterable[str]) -> bool:
    """Whether a key is one of the keys, or inside one of them: `logger.csv` is in `logger`."""
    return any(key == each or key.startswith(f"{each}.") for each in keys)


def _swapped_options(config: DictConfig, choices: Mapping[str, str], implied: Mapping[str, str]) -> list[str]:
    # Options that neither the method nor the dataset chose.
    if config.iterations == 0:  # only the initial images are evaluated, and the method's label names them
        return []
    swapped = [group for group in COMPARED_GROUPS if choices[group] != implied[group]]
    of_method = _defaults(choices["method"]).get("augmentation")
    if (augments_while_matching(config) or of_method) and choices["augmentation"] != of_method:
        swapped.append("augmentation")
    return [f"{group}={choices[group]}" for group in swapped]


def _protocol_changes(
    config: DictConfig, changes: Mapping[str, Any], choices: Mapping[str, str]
) -> list[str]:
    chosen, of_dataset = choices["augmentation"], config.dataset.get("evaluation_augmentation", "none")
    swapped = chosen != of_dataset and not augments_while_matching(config)
    return [f"augmentation={chosen}"] * swapped + as_words(
        {
            key: value
            for key, value in changes.items()
            if is_in(key, _PROTOCOL) and not is_in(key, NEUTRAL + SHOWN_ELSEWHERE)
        }
    )


def _size_changes(config: DictConfig, reference: DictConfig) -> list[str]:
    # Names every size that differs from the scale's, so that a reduced run is never taken for a full one.
    sizes = _SIZES[2:] if config.iterations == 0 else _SIZES  # nothing is condensed
    used = {key: OmegaConf.select(config, key) for key in sizes}
    return as_words({key: value for key, value in used.items() if value != OmegaConf.select(reference, key)})


def _method_label(
    config: DictConfig,
    choices: Mapping[str, str],
    implied: Mapping[str, str],
    swapped: list[str],
    changes: list[str],
) -> str:
    if config.iterations == 0 and choices["initialization"] != implied["initialization"]:
        return named_with(choices["initialization"], changes)
    return named_with(choices["method"], swapped + changes)


def read_bundle(method: str) -> dict[str, Any]:
    """Reads the choices and values of a method from conf/; a user-defined method has no choices there."""
    path = CONF_DIR / "method" / f"{method}.yaml"
    content: Any = OmegaConf.to_container(OmegaConf.load(path)) if path.exists() else {"defaults": []}
    return content


def _defaults(method: str) -> dict[str, str]:
    entries = read_bundle(method)["defaults"]
    return {key.split("/")[-1]: option for entry in entries for key, option in entry.items()}
