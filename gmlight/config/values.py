"""Reads values out of a configuration, some of which may be absent."""

import math
from typing import Any

from omegaconf import DictConfig

from gmlight.errors import ConfigError

ABSENT = object()


def select(config: DictConfig, key: str) -> Any:
    """The value of a key such as `distance.weight`; ABSENT if the chosen option has no such key.

    Raises:
        ConfigError: a group that the key lies in was set to a single value.
    """
    # Absent differs from None: only options that have a key are asked for its value.
    node, _, last = key.rpartition(".")
    parent: Any = config
    for name in filter(None, node.split(".")):
        if name not in parent:  # a configuration from before there was such a group
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
    """Whether a value is a finite number; true and false are none."""
    return type(value) in (int, float) and math.isfinite(value)
