"""Command-line overrides and flattened configurations."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

# Prefixes of the words that resuming adds to the command line of the resumed run.
ADDED_ON_RESUME = ("resume=", "trust=", "hydra.run.dir=", "hydra.sweep.dir=", "hydra.mode=")


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


def parse_override(word: str) -> Override | None:
    """Parses a word by Hydra's grammar; None if the word does not follow it."""
    try:
        return OverridesParser.create().parse_override(word)
    except HydraException:
        return None


def quoted(value: str) -> str:
    """Quotes text for Hydra's grammar, such that a configuration holds the text as it is.

    OmegaConf resolves `${`, unless a backslash escapes it. Hydra takes a backslash literally, except before a
    quote.
    """
    literal = re.sub(r"(\\*)\$\{", r"\1\1\\${", value)
    escaped = re.sub(r"(\\*)('|\Z)", lambda found: 2 * found[1] + found[2].replace("'", "\\'"), literal)
    return f"'{escaped}'"


def quote_if_needed(value: str) -> str:
    """Quotes text that Hydra's grammar would not take as it is."""
    parsed = None if "${" in value else parse_override(f"key={value}")
    return value if parsed is not None and parsed.value() == value else quoted(value)


def unquoted(value: str) -> str | None:
    """Returns the text that a quoted value encloses; None if it is not quoted, or refers to another key."""
    parsed = parse_override(f"key={value}") if value[:1] in ("'", '"') else None
    text = None if parsed is None else parsed.value()
    if not isinstance(text, str):
        return None
    if any(len(found[1]) % 2 == 0 for found in re.finditer(r"(\\*)\$\{", text)):
        return None
    return re.sub(r"(\\*)\\\$\{", lambda found: "\\" * (len(found[1]) // 2) + "${", text)
