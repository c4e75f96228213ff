"""Reads result.json, the result of a run or of an evaluation, which may be a stranger's."""

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from gmlight.artifacts.value_checks import (
    check_evaluations,
    check_run,
    is_duration,
    is_text,
    is_whole,
    refuse,
)
from gmlight.errors import ConfigError, one_line

_LARGEST_RESULT = 2**26  # bytes
_ORIGIN = ("sha256", "method", "scale")  # of the set that was evaluated again


def read_result_file(path: Path) -> dict[str, Any]:
    """Reads a result file, and checks what tables and pages show of it.

    Returns:
        Its content; control characters and line ends in its text are escaped.

    Raises:
        ConfigError: the file cannot be read, or is not a result; the line does not name the file.
    """
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST_RESULT:
            raise ConfigError("not a file of a usual size")
        result = _on_one_line(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(describe(error)) from None
    if not isinstance(result, dict):
        raise ConfigError("not the result of a command")
    if "blank" not in result:
        _check_result(result)
        for accuracy in (row["accuracy"] for row in result["evaluations"]):
            values = accuracy["values"]
            computed = {"mean": fmean(values), "std": pstdev(values), "n": len(values)}
            accuracy |= {key: value for key, value in computed.items() if key not in accuracy}
    return result


def describe(error: Exception) -> str:
    """Describes an error by its text; a missing key by its name."""
    return f"{error.args[0]} is missing" if isinstance(error, KeyError) else f"{error}"


def _check_result(result: dict[str, Any]) -> None:
    check_evaluations(result.get("evaluations"))
    if not result["evaluations"]:
        refuse("evaluations", "are missing")
    if is_evaluated_again(result):
        origin = result["set"]
        if not isinstance(origin, dict) or not all(is_text(origin.get(key)) for key in _ORIGIN):
            refuse("set", f"must have {', '.join(_ORIGIN)}")
        result = {"architecture": "", "method": "", "scale": "", **result}  # they are the set's
    check_run(result)
    changed, zetas = result.get("changed", []), result.get("zeta_used", [])
    if not (isinstance(changed, list) and all(map(is_text, changed))):
        refuse("changed", "must be a list of texts")
    if not (
        isinstance(zetas, list)
        and all(isinstance(row, list) and all(map(is_whole, row)) for row in zetas)
        and len(set(map(len, zetas))) <= 1
    ):
        refuse("zeta_used", "must be lists of whole numbers, all of one length")
    schedule = result["config"].get("schedule")
    measured = result.get("choices", {}).get("schedule") == "until_overfit" and any(zetas)
    if measured and not (isinstance(schedule, dict) and schedule.get("unit") in ("epochs", "steps")):
        refuse("config.schedule.unit", "must be epochs or steps")
    seconds = result.get("seconds", {})
    if not (isinstance(seconds, dict) and all(map(is_duration, seconds.values()))):
        refuse("seconds", "must be numbers")
    environment = result.get("environment", {})
    if not (isinstance(environment, dict) and is_text(environment.get("device", ""))):
        refuse("environment", "must name the device in a text")


def _on_one_line(node: Any) -> Any:
    if isinstance(node, dict):
        return {one_line(key): _on_one_line(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_on_one_line(entry) for entry in node]
    return one_line(node) if isinstance(node, str) else node


def is_evaluated_again(result: Mapping[str, Any]) -> bool:
    """Whether the result is of `gmlight.evaluate`, not of a run."""
    return "set" in result
