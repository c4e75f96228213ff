"""Command-line overrides and flattened configurations."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

# Prefixes of the words that resuming adds to the command line of the resumed run.
ADDED_ON_RESUME = ("resume=", "trust=", "hydra.run.dir=", "hydra.mode=")


def flat(node: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Flattens nested mappings: {distance: {weight: 0.1}} yields ("distance.weight", 0.1)."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def last_of_each_key(overrides: Iterable[str]) -> list[str]:
    """Drops overrides whose key is set again by a later one: `width=8 width=16` -> `width=16`."""
    return list({override.lstrip("+~").split("=")[0]: override for override in overrides}.values())


def override_key(override: str) -> str:
    """Returns the key of an override: `distance.weight` of `+distance.weight=2`."""
    return override.lstrip("+~").split("=")[0].split("@")[0]


def quoted(value: str) -> str:
    """Quotes a value for Hydra's override grammar."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
