"""Composes, completes and instantiates configurations."""

import contextlib
import os
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from gmlight.artifacts.value_checks import is_text
from gmlight.config.answers import answer
from gmlight.config.error_lines import explain_error
from gmlight.config.experiment_cells import apply_cell
from gmlight.config.former_names import BUILT_AT_ONCE, name_keys, present_name, with_present_names
from gmlight.config.implied import differences, is_built_in
from gmlight.config.labels import read_bundle
from gmlight.config.literal import class_names, label_names, literal, register_literal
from gmlight.config.spelling import check_keys
from gmlight.config.validate import check
from gmlight.config.values import data_root
from gmlight.errors import ConfigError
from gmlight.runtime.paths import CONF_DIR


def register_resolvers() -> None:
    """Registers the resolvers that conf/ uses.

    `min` and `max` skip null; `div` rounds down; `half` rounds up; `absolute` expands a path; `stamp` is a
    folder name from the time.
    """
    resolvers: dict[str, Callable[..., Any]] = {
        "min": lambda *values: min(value for value in values if value is not None),
        "max": lambda *values: max(value for value in values if value is not None),
        "mul": lambda a, b: a * b,
        "div": lambda a, b: a // b,
        "half": lambda a: -(-a // 2),
        "absolute": lambda path: str(Path(path).expanduser().absolute()),
    }
    for name, function in resolvers.items():
        OmegaConf.register_new_resolver(name, function, replace=True)
    register_literal()
    OmegaConf.register_new_resolver("stamp", _stamp, replace=True, use_cache=True)


def _stamp() -> str:
    # With the process number, so that no two runs on a machine share a folder.
    return f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}-{os.getpid()}"


def choose(config: DictConfig, group: str, option: str) -> DictConfig:
    """Loads an option other than the chosen one; its references resolve to this configuration's dataset.

    Args:
        config: the composed configuration.
        group: such as `architecture`.
        option: name of the option.

    Returns:
        The option's node.

    Raises:
        ConfigError: there is no such option.
    """
    try:
        with contextlib.ExitStack() as stack:
            if not GlobalHydra.instance().is_initialized():
                stack.enter_context(hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"))
            node = hydra.compose("train", [f"{group}={option}"])[group]
    except HydraException as error:
        raise ConfigError(str(explain_error(error))) from None
    return OmegaConf.create({"dataset": config.dataset, group: OmegaConf.to_container(node)})[group]


def option_changes(
    config: DictConfig, group: str, option: str | None, stored: Mapping[str, Any]
) -> dict[str, Any]:
    """Lists the values of a group that were set on the command line of a command on a condensed set.

    Args:
        config: of the command.
        group: such as `architecture`.
        option: the chosen option of the group; None: the one of the run that made the set.
        stored: configuration of that run.

    Returns:
        Values that differ from the option's, by key, such as `architecture.width`.
    """
    if option is None:
        before = OmegaConf.create(literal(with_present_names(dict(stored[group]))))
    else:
        before = choose(config, group, option if is_built_in(group, option) else _default_option(group))
    nodes = (OmegaConf.to_container(node, resolve=True) for node in (config[group], before))
    return differences(*(OmegaConf.create({group: node}) for node in nodes))


def _default_option(group: str) -> str:
    defaults: Any = OmegaConf.load(CONF_DIR / "train.yaml").defaults
    return next(entry[group] for entry in defaults if group in entry)


def with_overrides(overrides: list[str]) -> DictConfig:
    """Composes the configuration of this command line with further overrides.

    Args:
        overrides: words such as `schedule=fixed`; they win over the command line's.

    Returns:
        The completed and checked configuration.

    Raises:
        ConfigError: an override is invalid.
    """
    hydra_config = HydraConfig.get()
    try:
        config = hydra.compose(hydra_config.job.config_name, [*hydra_config.overrides.task, *overrides])
    except HydraException as error:
        raise ConfigError(str(explain_error(error))) from None
    complete(config)
    return config


def instantiate(node: Any, *args: Any, **keywords: Any) -> Any:
    """Calls the function or class that the node's `_target_` names; nested nodes become plain containers."""
    return hydra.utils.instantiate(node, *args, **keywords, _convert_="all")


def complete(config: DictConfig) -> None:
    """Completes a composed configuration in place and checks its values.

    Raises:
        ConfigError: a value is not allowed.
    """
    if "dataset" not in config:  # an export without comparison has no run's configuration
        return
    check_keys(config)
    use_present_names(config)
    apply_cell(config)
    _check_coreset(config)
    name_classes(config)
    check(config)


def use_present_names(node: Any) -> None:
    """Replaces former names of functions and classes by their present names, in place."""
    for key in name_keys(node) if isinstance(node, DictConfig) else ():
        node[key] = present_name(node[key])
        if node[key] in BUILT_AT_ONCE:
            with open_dict(node):
                node.pop("_partial_", None)
    keys: Any = node if isinstance(node, DictConfig) else range(len(node))
    for key in keys:
        if OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, key):
            continue
        if isinstance(node[key], DictConfig | ListConfig) and node[key]:
            use_present_names(node[key])


def _check_coreset(config: DictConfig) -> None:
    # With iterations, the method would condense under the name of a method that only selects images.
    method = HydraConfig.get().runtime.choices.get("method")
    if method is not None and config.iterations and read_bundle(method).get("iterations") == 0:
        raise ConfigError(
            f"method={method}: nothing is condensed; leave out iterations=, or use method=mda with an "
            "initialization="
        )


def chooses_classes(loader: DictConfig) -> bool:
    """Whether a loader, or what finds its classes, takes `classes`: those to read, in order."""
    return bool(answer(loader, "chooses_classes"))


def name_classes(config: DictConfig) -> None:
    """Fills in class names that are read from the dataset's files, in place; names are literal text.

    If the dataset can choose among its classes, `dataset.classes` is the choice.

    Raises:
        ConfigError: `dataset.classes` names other classes than the files, or is not a list of names.
    """
    named = class_names(config)
    if isinstance(named, list):  # numbers, as in `dataset.classes=[0,1]`, are names too
        named = [str(name) if type(name) is int else name for name in named]
    if "find_classes" in config.dataset:
        find, chooses = instantiate(config.dataset.find_classes), chooses_classes(config.dataset.find_classes)
        found = find(data_root(config), **({"classes": named} if chooses else {}))
        if named is not None and named != found and not chooses:
            raise ConfigError(f"dataset.classes={named}: the files hold the classes {found}")
        named = found
    elif (names := label_names(config)) is not None:
        _check_names("dataset.load.names", names)
        if named != names:
            from gmlight.data.class_choice import choose_names  # slow to import

            named = choose_names(names, named, config.dataset.name)
    _check_names("dataset.classes", named)
    config.dataset.classes = literal(named)


def _check_names(key: str, names: Any) -> None:
    if not isinstance(names, list) or not all(is_text(name) and name for name in names):
        raise ConfigError(f"{key}={names}: must be a list of names, in UTF-8")
    if len(set(names)) < len(names):
        raise ConfigError(f"{key}={names}: must be different names")
