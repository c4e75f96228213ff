"""Checks values of JSON files that gmlight reads back: a set's metadata, a run's result."""

import math
import shlex
from collections.abc import Callable, Mapping
from statistics import fmean, pstdev
from typing import Any, NoReturn

from gmlight.errors import ConfigError

_LARGEST = 2**63 - 1
_LONGEST = 1e12  # seconds, thirty thousand years
_ROUNDING = 1e-6  # of a mean in percent


def refuse(key: str, line: str) -> NoReturn:
    """Refuses a value: raises a ConfigError that names its key."""
    raise ConfigError(f"{key}: {line}")


def is_text(value: Any) -> bool:
    """Whether a value is text that can be written to a file."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a pair of surrogates
        return False
    return True


def is_whole(value: Any) -> bool:
    """Whether a value is an int of at most 64 bits; booleans are not."""
    return type(value) is int and -_LARGEST <= value <= _LARGEST


def is_finite(value: Any) -> bool:
    """Whether a value is a finite number of a usual size; booleans are not."""
    return is_whole(value) or (type(value) is float and math.isfinite(value))


def is_count(value: Any) -> bool:
    """Whether a value is a whole number of things, not negative."""
    return is_whole(value) and value >= 0


def is_duration(value: Any) -> bool:
    """Whether a value is a number of seconds that a table can show."""
    return is_finite(value) and 0 <= value < _LONGEST


def _is_percentage(value: Any) -> bool:
    return is_finite(value) and 0 <= value <= 100


def are_digests(value: Any) -> bool:
    """Whether a value holds the digests of the training and the test images, as `DataDigest.as_dict`."""
    if not isinstance(value, dict) or not _are_texts(value.get("tested", [])):  # older runs lack it
        return False
    return all(_is_digest(value.get(split)) for split in ("train", "test"))


def _is_digest(value: Any) -> bool:
    counts = value.get("counts") if isinstance(value, dict) else None
    return isinstance(counts, list) and all(map(is_count, counts)) and is_text(value.get("sha256"))


def _may_be_digests(value: Any) -> bool:
    return value is None or are_digests(value)  # None: of images that were not digested


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_text, value))


def _are_parts(value: Any) -> bool:
    # Of a joined set: where each part's classes and tested images are from.
    return isinstance(value, list) and all(
        isinstance(part, dict) and _are_texts(part.get("classes")) and _are_texts(part.get("tested") or [])
        for part in value
    )


def _are_choices(value: Any) -> bool:
    # An option that was set to null is None.
    return isinstance(value, dict) and all(option is None or _is_option(option) for option in value.values())


def _is_option(value: Any) -> bool:
    return is_text(value) or _are_texts(value)


_TEXTS = ("architecture", "command", "created", "method", "protocol", "scale", "sha256")
_RECORD: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(_TEXTS, (is_text, "text")),
    "choices": (_are_choices, "names of options by group"),
    "complete": (lambda value: isinstance(value, bool), "true or false"),
    "config": (lambda value: isinstance(value, dict), "keys with values"),
    "data": (_may_be_digests, "digests of train and test"),
    "departures": (_are_texts, "a list of texts"),
    "overrides": (_are_texts, "a list of texts"),
    "parts": (_are_parts, "a list of the parts of a joined set"),
}
_OF_A_RUN = ("architecture", "command", "method", "scale")


def check_record(content: Mapping[str, Any]) -> None:
    """Checks how a run was called, in a result or in the metadata of a set; keys may be absent.

    Raises:
        ConfigError: a value has the wrong type, or there is a configuration without the names of its run.
    """
    for key, (fits, expected) in _RECORD.items():
        if key in content and not fits(content[key]):
            refuse(key, f"must be {expected}")
    if "command" in content:
        try:
            shlex.split(content["command"])
        except ValueError:
            refuse("command", "must be a command line")


def check_run(content: Mapping[str, Any]) -> None:
    """Checks a record whose configuration is described in one line, or collected into tables.

    Raises:
        ConfigError: a value that this needs is absent or has the wrong type.
    """
    check_record(content)
    config = content.get("config")
    for key in _OF_A_RUN:
        if key not in content:
            refuse(key, "is missing")
    if not isinstance(config, dict) or not isinstance(dataset := config.get("dataset"), dict):
        refuse("config", "must be the configuration of a run")
    if not is_text(dataset.get("name")):
        refuse("config.dataset.name", "must be text")
    for key in ("ipc", "seed"):
        if not is_whole(config.get(key)):
            refuse(f"config.{key}", "must be a whole number")


def check_evaluations(rows: Any) -> None:
    """Checks the accuracies in a result or in the metadata of a set.

    Args:
        rows: outputs of `Evaluation.as_dict`; those of older versions lack some keys.

    Raises:
        ConfigError: a value is absent or has the wrong type.
    """
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        refuse("evaluations", "must be a list of rows")
    for row in rows:
        accuracy = row.get("accuracy")
        if not (is_text(row.get("name")) and is_text(row.get("architecture"))):
            refuse("evaluations", "must have texts as name and architecture")
        if not all(is_count(row.get(key, 0)) for key in ("images", "storage_bytes")):
            refuse("evaluations", "must have whole numbers as images and storage_bytes, none below 0")
        if not isinstance(accuracy, dict):
            refuse("evaluations", "must have accuracies")
        _check_accuracy(accuracy)


def _check_accuracy(accuracy: Mapping[str, Any]) -> None:
    values = accuracy.get("values")
    if not (isinstance(values, list) and values and all(map(_is_percentage, values))):
        refuse("evaluations.accuracy.values", "must be a list of percentages")
    if not is_text(accuracy.get("protocol", "")):
        refuse("evaluations.accuracy.protocol", "must be text")
    if not is_count(accuracy.get("epochs", 0)):
        refuse("evaluations.accuracy.epochs", "must be a whole number, not below 0")
    for key, computed in {"mean": fmean(values), "std": pstdev(values), "n": len(values)}.items():
        found = accuracy.get(key, computed)
        if not (is_finite(found) and abs(found - computed) < _ROUNDING):
            refuse(f"evaluations.accuracy.{key}", f"must be that of the values, {computed:g}")
