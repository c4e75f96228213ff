"""Reads values of a configuration that may lack their keys."""

import math
from typing import Any

import yaml
from omegaconf import DictConfig

from gmlight.errors import ConfigError
from gmlight.runtime.paths import CONF_DIR

ABSENT = object()


def select(config: DictConfig, key: str) -> Any:
    """Returns the value of a key, or ABSENT if the chosen option has no such key.

    Args:
        config: the configuration.
        key: with dots, such as `distance.weight`.

    Raises:
        ConfigError: a group that contains the key was set to a single value.
    """
    node, _, last = key.rpartition(".")
    parent: Any = config
    for name in filter(None, node.split(".")):
        if name not in parent:  # an older configuration, without this group
            return ABSENT
        parent = parent[name]
        if not isinstance(parent, DictConfig):
            break
    if not isinstance(parent, DictConfig):
        raise ConfigError(f"{node}={parent}: must be a group of keys, such as {key}=...")
    if last not in parent:
        return ABSENT
    return parent[last]


def is_number(value: Any) -> bool:
    """Whether a value is a finite float or an int of at most 64 bits; booleans are not."""
    return abs(value) < 2**63 if type(value) is int else type(value) is float and math.isfinite(value)


def built_in_dataset(option: str) -> dict[str, Any]:
    """Reads the keys of an option of conf/dataset, with those of an option that it extends."""
    content = yaml.safe_load((CONF_DIR / "dataset" / f"{option}.yaml").read_text(encoding="utf-8"))
    extended: dict[str, Any] = {}
    for entry in content.get("defaults", []):
        if isinstance(entry, str):
            extended |= built_in_dataset(entry)
    return extended | content.get("dataset", content)


def data_root(config: DictConfig) -> str | None:
    """Returns where the dataset is: its `root` or `path` if it has that key, else `data_dir`."""
    key = next((key for key in ("root", "path") if key in config.dataset), None)
    return config.data_dir if key is None else config.dataset[key]
