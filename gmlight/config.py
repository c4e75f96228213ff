"""The door between Hydra and the program: where conf/ is, what its values may be, how errors are told."""

import errno
import math
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gmlight.errors import ConfigError

# Inside an installed package conf/ lies in it, in a checkout beside it.
_HERE = Path(__file__).resolve().parent
CONF_DIR = next(folder for folder in (_HERE / "conf", _HERE.parent / "conf") if folder.is_dir())

# The sizes that make a scale, and where the configuration holds what is used.
SCALE_SIZES = {
    "iterations": "iterations",
    "real_batch": "real_batch",
    "networks": "evaluation.networks",
    "epochs": "evaluation.epochs",
}
METHOD_GROUPS = ("matching", "distance", "schedule")

_CANNOT_WRITE = (errno.EACCES, errno.EEXIST, errno.ENOSPC, errno.ENOTDIR, errno.EPERM, errno.EROFS)

_LEAST = {  # whole numbers
    "ipc": 1,
    "iterations": 0,
    "updates": 1,
    "real_batch": 1,
    "validation_batch": 0,
    "statistics_batch": 1,
    "train_batch": 1,
    "seed": 0,
    "log_every": 1,
    "checkpoint.every": 1,
    "evaluation.networks": 1,
    "evaluation.epochs": 1,
    "evaluation.batch_size": 1,
    "evaluation.test_batch": 1,
    "evaluation.every": 0,
    "evaluation.quick_networks": 1,
    "evaluation.baselines.random": 0,
    "evaluation.baselines.whole": 0,
    "schedule.limit": 1,
}
_POSITIVE = ("image_lr", "network_lr", "evaluation.lr", "distance.weight", "matching.inter_weight")
_ONE_OF = {"schedule.criterion": ("rise", "gap"), "speed.allocator": ("auto", "off")}
_FRACTIONS = ("image_momentum", "network_momentum", "evaluation.momentum")


def command(job: Callable[[DictConfig, Path], None], config_name: str) -> None:
    """Composes the configuration from the command line and runs the job in its run folder.

    A ConfigError ends it with one line and exit status 1; in a multirun the other jobs go on.
    """

    def checked(config: DictConfig) -> None:
        folder = Path(HydraConfig.get().runtime.output_dir)
        try:
            check(config)
            job(config, folder)
        except ConfigError as error:
            if not any(folder.iterdir()):
                folder.rmdir()
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise  # Hydra keeps it and goes on
            sys.exit(f"gmlight: {error}")

    register_resolvers()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come back to here, where they are told
    try:
        hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=config_name)(checked)()
    except ConfigError as error:
        sys.exit(f"gmlight: {error}")
    except (HydraException, OmegaConfBaseException) as error:
        cause = f"\n{error.__cause__}" if isinstance(error.__cause__, OmegaConfBaseException) else ""
        sys.exit(f"gmlight: {error}{cause}")
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            raise
        sys.exit(
            f"gmlight: cannot write {error.filename}: {error.strerror}; choose a folder with hydra.run.dir="
        )


def register_resolvers() -> None:
    """Arithmetic that conf/ uses: min and max pass over null, div rounds down."""
    resolvers: dict[str, Callable[..., Any]] = {
        "min": lambda *values: min(value for value in values if value is not None),
        "max": lambda *values: max(value for value in values if value is not None),
        "div": lambda a, b: a // b,
    }
    for name, function in resolvers.items():
        OmegaConf.register_new_resolver(name, function, replace=True)


def check(config: DictConfig) -> None:
    """Refuses values out of range.

    Raises:
        ConfigError: names the key, its value and what it may be.
    """
    for key, least in _LEAST.items():
        value = _select(config, key)
        if value is not None and (type(value) is not int or value < least):
            raise ConfigError(f"{key}={value}: must be a whole number of at least {least}")
    for key in _POSITIVE:
        value = _select(config, key)
        if value is not None and not (_is_number(value) and value > 0):
            raise ConfigError(f"{key}={value}: must be a number above 0")
    for key in _FRACTIONS:
        value = _select(config, key)
        if value is not None and not (_is_number(value) and 0 <= value < 1):
            raise ConfigError(f"{key}={value}: must be a number from 0 up to, not including, 1")
    for key, names in _ONE_OF.items():
        value = _select(config, key)
        if value is not None and value not in names:
            raise ConfigError(f"{key}={value}: choose {' or '.join(names)}")
    _check_schedule(config)
    _check_class_weights(config)
    if config.iterations == 0 and config.initialization["_target_"].endswith(".noise"):
        raise ConfigError(
            "iterations=0: noise would be left as it is; use iterations>=1 or initialization=real"
        )


def describe(config: DictConfig) -> dict[str, Any]:
    """What was asked for, as plain containers: the command, the choices, the resolved configuration."""
    hydra_config = HydraConfig.get()
    overrides = list(hydra_config.overrides.task)
    choices = {
        group: option
        for group, option in hydra_config.runtime.choices.items()
        if not group.startswith("hydra/")
    }
    return {
        "command": shlex.join(["python", "-m", f"gmlight.{hydra_config.job.config_name}", *overrides]),
        "overrides": overrides,
        "choices": choices,
        "method": _method_label(config, choices, overrides),
        "scale": _scale_label(config),
        "config": OmegaConf.to_container(config, resolve=True),
    }


def instantiate(node: Any, *args: Any, **keywords: Any) -> Any:
    """Builds what the node's `_target_` names, from plain containers."""
    return hydra.utils.instantiate(node, *args, **keywords, _convert_="all")


def _scale_label(config: DictConfig) -> str:
    # A size that is not the scale's is named, so that no reduced run passes for a full one.
    intended = dict(config.scale)
    intended["epochs"] = min(filter(None, (config.dataset.evaluation_epochs, config.scale.epochs)))
    used = {size: _select(config, key) for size, key in SCALE_SIZES.items()}
    if config.iterations == 0:  # nothing is condensed: those sizes play no part
        del used["iterations"], used["real_batch"]
    changed = [f"{SCALE_SIZES[size]}={value}" for size, value in used.items() if value != intended[size]]
    return _with(config.scale.name, changed)


def _method_label(config: DictConfig, choices: dict[str, str], overrides: list[str]) -> str:
    if config.iterations == 0:
        return choices["initialization"]
    changed = [override for override in overrides if override.lstrip("+").split(".")[0] in METHOD_GROUPS]
    if choices.get("method") is None:
        return ", ".join([f"{group}={choices[group]}" for group in METHOD_GROUPS] + changed)
    bundle = OmegaConf.to_container(OmegaConf.load(CONF_DIR / "method" / f"{choices['method']}.yaml"))
    assert isinstance(bundle, dict)
    defaults = {key.split("/")[-1]: option for entry in bundle["defaults"] for key, option in entry.items()}
    swapped = [
        f"{group}={choices[group]}" for group in METHOD_GROUPS if choices[group] != defaults.get(group)
    ]
    return _with(choices["method"], swapped + changed)


def _with(name: str, changes: list[str]) -> str:
    return f"{name} with {', '.join(changes)}" if changes else name


def _check_schedule(config: DictConfig) -> None:
    epochs = _select(config, "schedule.epochs")
    counts = list(epochs.values()) if isinstance(epochs, DictConfig) else [] if epochs is None else [epochs]
    for count in counts:
        if type(count) is not int or count < 0:
            raise ConfigError(f"schedule.epochs={epochs}: must be whole numbers of at least 0")


def _check_class_weights(config: DictConfig) -> None:
    weights = _select(config, "matching.class_weights")
    if weights is None or weights in ("equal", "priors", "batch"):
        return
    classes = len(config.dataset.classes)
    if isinstance(weights, str) or len(weights) != classes or not math.isclose(sum(weights), 1, abs_tol=1e-6):
        raise ConfigError(
            f"matching.class_weights={weights}: must be equal, priors, batch, "
            f"or a list of {classes} numbers that sum to 1"
        )


def _select(config: DictConfig, key: str) -> Any:
    return OmegaConf.select(config, key)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
