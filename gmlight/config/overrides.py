"""Command-line overrides and flattened configurations."""

from collections.abc import Iterator, Mapping
from typing import Any

# Beginnings of the words that resuming adds to those of the resumed run.
ADDED_ON_RESUME = ("resume=", "hydra.run.dir=", "hydra.mode=")


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
