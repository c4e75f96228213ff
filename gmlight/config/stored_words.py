"""Checks the words of a run's command line that are read back from its config.yaml."""

from collections.abc import Iterator, Sequence
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from gmlight.config.overrides import override_key
from gmlight.config.trust import CONFIG_DIR, Trust, resolves
from gmlight.errors import ConfigError

_LONGEST_YAML, _DEEPEST_YAML = 2**20, 50  # characters, levels


def read_plain_yaml(text: str) -> dict[str, Any]:
    """Reads yaml that is keys with values.

    Raises:
        ValueError: it is something else, too long or too deep, or has aliases, a few of which can unfold to
            gigabytes.
        yaml.YAMLError: it is no yaml.
    """
    depth = 0
    for event in yaml.parse(text[: _LONGEST_YAML + 1], yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > _DEEPEST_YAML or len(text) > _LONGEST_YAML:
            raise ValueError("it is too long or too deep, or has aliases")
    content = yaml.safe_load(text)
    if not isinstance(content, dict):
        raise ValueError("it must be keys with values")
    return content


def check_words(words: Sequence[str], trust: Trust, source: str) -> None:
    """Checks words that a file adds to a command line, before Hydra reads them.

    Args:
        words: overrides, without those whose key the user types again.
        trust: what they may name.
        source: the file, for messages.

    Raises:
        ConfigError: a word does more than to set a known key to a plain value or to choose a known option.
    """
    values: dict[str, Any] = {}
    for word in words:
        try:
            _check_word(word, trust, values)
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}; if it is yours, type it again") from None
    trust.check(values, source)


def split_config_dir(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits a command line into `--config-dir` with its folder, and the other words."""
    flags, others = list[str](), list[str]()
    for word in words:
        follows = len(flags) % 2 == 1  # the folder of the flag before it
        if follows or word in CONFIG_DIR:
            flags.append(word)
        elif word.partition("=")[0] in CONFIG_DIR:
            flags += [word.partition("=")[0], word.partition("=")[2]]
        else:
            others.append(word)
    return flags, others


def _check_word(word: str, trust: Trust, values: dict[str, Any]) -> None:
    # Adds the value of a key to `values`, whose names are checked afterwards.
    left, equals, _ = word.partition("=")
    if word.startswith("-") or not (equals or word.startswith("~")):
        raise ConfigError(f"{word}: is not followed from a file")
    path = override_key(word).split(".")
    if "@" in left or "/" in left or path[0] not in trust.known.keys:
        raise ConfigError(f"{word}: {left.lstrip('+~')} is not set from a file")
    value = _value(word)
    if any(resolves(text) for text in _texts(value)):
        raise ConfigError(f"{word}: is not resolved from a file")
    key = ".".join(path)
    if key in trust.options and not isinstance(value, dict):
        names = value if isinstance(value, list) else [value]
        if not all(name is None or name in trust.options[key] for name in names):
            raise ConfigError(f"{word}: conf/ has no such option")
    elif not word.startswith("~"):
        _insert(values, path, value)


def _value(word: str) -> Any:
    # A value that Hydra cannot read, such as a bare path with spaces, is text.
    try:
        override = OverridesParser.create().parse_override(word)
    except HydraException:
        return word.partition("=")[2]
    value = override.value()
    return (
        value if isinstance(value, str | int | float | bool | list | dict | None) else word.partition("=")[2]
    )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list):
        for entry in value:
            yield from _texts(entry)
    elif isinstance(value, str):
        yield value


def _insert(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for name in path[:-1]:
        if not isinstance(values.get(name), dict):
            values[name] = {}
        values = values[name]
    values[path[-1]] = value
