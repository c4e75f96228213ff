"""Refuses misspelled keys, and words of a command line in another notation than `key=value`."""

import difflib
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig

from gmlight.config.overrides import flat, override_key
from gmlight.errors import ConfigError
from gmlight.runtime.paths import CONF_DIR

_FLAGS = (
    "--help", "-h", "--hydra-help", "--run", "-r", "--multirun", "-m", "--resolve", "--shell-completion",
    "-sc",
)  # fmt: skip
_FLAGS_WITH_VALUE = (
    "--cfg", "-c", "--info", "-i", "--package", "-p", "--config-dir", "-cd", "--experimental-rerun",
)  # fmt: skip
# Another configuration in place of conf/train.yaml, which labels compare a run with.
_REPLACING_FLAGS = ("--config-path", "-cp", "--config-name", "-cn")
# Commands that compose conf/train.yaml; the others use a stored configuration, which is checked by itself.
_COMPOSING = ("train", "benchmark", "convert", "continual")
# Groups of plain values; the keys of other groups are arguments, which the function that they name checks.
_PLAIN_GROUPS = ("checkpoint", "evaluation", "memory", "scale", "speed")


def check_spelling(name: str, words: Sequence[str]) -> None:
    """Checks the words that a user types, before Hydra composes.

    Args:
        name: of the command.
        words: of its command line.

    Raises:
        ConfigError: a word is not `key=value`, or its key is unknown; the message says how to write it.
    """
    if {"-sc", "--shell-completion"} & set(words):
        return  # the other words are Hydra's
    own_options = any(word.split("=")[0] in ("--config-dir", "-cd") for word in words)
    for place, word in enumerate(words):
        before = words[place - 1] if place else ""
        flag, equals, _ = word.partition("=")
        if word in _FLAGS or flag in _FLAGS_WITH_VALUE or before in _FLAGS_WITH_VALUE:
            continue
        if flag in _REPLACING_FLAGS:
            raise ConfigError(
                f"{flag}: conf/ cannot be replaced; add options of yours with --config-dir <folder>"
            )
        if word.startswith("~"):
            _check_removal(word)
            continue
        if word.startswith(("-", "=")) or not equals:
            raise ConfigError(_explain_notation(name, before, word, words[place + 1 : place + 3]))
        key = override_key(word)
        if not own_options and _root(key) not in _root_keys(name):
            raise ConfigError(explain_unknown_key(key, name))


def check_keys(config: DictConfig) -> None:
    """Checks that a composed configuration has no key that nothing reads, such as one added with `+`.

    Raises:
        ConfigError: there is such a key.
    """
    name = HydraConfig.get().job.config_name
    if name not in _COMPOSING:
        return
    choices = HydraConfig.get().runtime.choices
    unknown = [str(key) for key in config if key not in _root_keys(name) | set(choices)]
    # A dataset of one's own may have keys to which its other keys refer.
    built_in = (CONF_DIR / "dataset" / f"{choices['dataset']}.yaml").is_file()
    for group in (*_PLAIN_GROUPS, "dataset"):
        if not isinstance(config[group], DictConfig):
            key = next(key for key in sorted(_keys()) if key.startswith(f"{group}."))
            raise ConfigError(f"{group}={config[group]}: is a group of keys; set one of them, such as {key}=")
    if not (isinstance(config.cells, ListConfig) and all(map(_is_cell, config.cells))):
        raise ConfigError(f"cells={config.cells}: must be a list of cells, as in conf/experiment/table3.yaml")
    for group in (*_PLAIN_GROUPS, *["dataset"] * built_in):
        added = {f"{group}.{key}" for key in config[group]} - _keys()
        unknown += sorted(key for key in added if not any(each.startswith(f"{key}.") for each in _keys()))
    if unknown:
        raise ConfigError(explain_unknown_key(unknown[0], name))


def _is_cell(node: Any) -> bool:
    return isinstance(node, DictConfig) and {"when"} < set(node) <= {"when", "blank", "set"}


def explain_unknown_key(key: str, name: str = "train") -> str:
    """Explains that a key is unknown, with the key that was probably meant.

    Args:
        key: such as `distance.wieght`.
        name: of the command.
    """
    group, _, last = key.rpartition(".")
    if key in _keys() and not last.isdigit():
        return f"{key}: no such key in the chosen option of {_root(key)}, only in others; --help lists them"
    nested = sorted(each for each in _keys() if each.split(".")[1:] == [key])
    siblings = {each.rpartition(".")[2] for each in _keys() if group and each.rpartition(".")[0] == group}
    if last.isdigit():
        hint = f"; entries by number are set together, such as {group}={{{last}: ...}};"
    elif siblings:
        hint = did_you_mean(last, siblings, f"{group}.")
    elif 0 < len(nested) <= 3:
        hint = f", did you mean {' or '.join(nested)}?"
    else:
        hint = did_you_mean(key, _keys() if group else _root_keys(name))
    return f"{key}: no such key{hint or ';'} --help lists the keys"


def did_you_mean(name: str, names: Iterable[str], prefix: str = "") -> str:
    """Returns `, did you mean <prefix><the most similar name>?`; empty text if none is similar."""
    near = difflib.get_close_matches(name, sorted(names), 1, cutoff=0.65)
    return f", did you mean {prefix}{near[0]}?" if near else ""


def _check_removal(word: str) -> None:
    key = override_key(word)
    if "." not in key or _root(key) in _PLAIN_GROUPS:
        raise ConfigError(f"{word}: this key cannot be removed; set it to another value")


def _explain_notation(name: str, before: str, word: str, after: Sequence[str]) -> str:
    following = after[0] if after and (after[0].startswith("=") or "=" not in after[0]) else None
    if before.endswith("=") and not word.startswith("-"):  # ipc= 1
        return f"{before} {word}: write {before}{word}"
    if before.lstrip("-") in _root_keys(name) and before in _FLAGS:  # --run folder
        return f"{before} {word}: write {before.lstrip('-')}={word}"
    key, equals, value = word.lstrip("-").partition("=")
    typed = word
    if not equals and following is not None and following not in _FLAGS:
        typed, value = f"{word} {following}", following.lstrip("=")
        if following == "=" and len(after) > 1:
            typed, value = f"{typed} {after[1]}", after[1]
    known = _keys() | _root_keys(name)
    key = key if _root(key) == "hydra" else key.replace("-", "_")
    near = [key] if key in known or _root(key) == "hydra" else difflib.get_close_matches(key, known, 1)
    if near and value:
        return f"{typed}: write {near[0]}={value}"
    if near:
        return f"{word}: write {near[0]}=<value>"
    return f"{word}: must be key=value, in quotes if it contains spaces; --help lists the keys"


def _root(key: str) -> str:
    return key.replace("/", ".").split(".")[0]


@cache
def _root_keys(name: str) -> set[str]:
    groups = {path.name for path in CONF_DIR.iterdir() if path.is_dir()}
    return groups | {key for file in ("train", name) for key in _read(f"{file}.yaml")} - {"defaults"}


@cache
def _keys() -> set[str]:
    # Keys inside groups and choices, with dots.
    nested = {"": _read("train.yaml")}
    for path in CONF_DIR.glob("[!h]*/*.yaml"):
        content, text = _read(f"{path.parent.name}/{path.name}"), path.read_text(encoding="utf-8")
        if "@package _global_" not in text:
            nested[f"{path.parent.name}/{path.stem}"] = {path.parent.name: content}
    keys = {key for content in nested.values() for key, _ in flat(content) if not key.startswith("hydra.")}
    return {key for key in keys if "." in key and "defaults" not in key}


@cache
def _read(path: str) -> dict[Any, Any]:
    return yaml.safe_load((CONF_DIR / path).read_text(encoding="utf-8")) or {}
