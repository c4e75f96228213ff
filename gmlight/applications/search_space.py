"""Candidates of a search space: a grid of values, or random draws from it."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from gmlight.artifacts.value_checks import is_finite
from gmlight.errors import ConfigError

_RANGE = {"least", "most", "log"}
# Keys that candidates may differ in: the network, and how it is trained.
_ALLOWED = ("architecture.", "evaluation.batch_size", "evaluation.lr", "evaluation.momentum",
            "evaluation.weight_decay")  # fmt: skip

Candidate = dict[str, Any]  # values by key, such as {"architecture.width": 64}


def candidates(values: Mapping[str, Any], draws: int, rng: torch.Generator) -> list[Candidate]:
    """Lists the candidates of a space.

    Args:
        values: by key, nested or with dots: a list of values, or a range of numbers `{least, most, log}`.
        draws: different candidates drawn at random; 0: the whole grid, in the order of the values.
        rng: CPU generator of the draws.

    Raises:
        ConfigError: a key cannot vary, its values are no list or range, a range is in a grid, or there are
            fewer candidates than are drawn.
    """
    axes = dict(_axes(values, ""))
    if not axes:
        raise ConfigError(
            "space.values: must have a list of values, such as {architecture: {width: [32, 64]}}"
        )
    for key, axis in axes.items():
        _check_axis(key, axis, draws)
    if draws:
        return _drawn(axes, draws, rng)
    return [dict(zip(axes, chosen, strict=True)) for chosen in itertools.product(*axes.values())]


def candidate_name(candidate: Candidate) -> str:
    """Names a candidate by its values: `width=64, depth=3`."""
    return ", ".join(f"{key.rpartition('.')[2]}={_text(value)}" for key, value in candidate.items())


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _axes(node: Mapping[str, Any], prefix: str) -> Any:
    for key, value in node.items():
        if isinstance(value, Mapping) and not _RANGE & value.keys():
            yield from _axes(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _check_axis(key: str, axis: Any, draws: int) -> None:
    name = f"space.values.{key}"
    if not key.startswith(_ALLOWED):
        raise ConfigError(
            f"{name}: candidates can differ in architecture.* and in evaluation.lr, momentum, weight_decay "
            "and batch_size"
        )
    if isinstance(axis, Mapping):
        if not _is_range(axis):
            raise ConfigError(f"{name}={dict(axis)}: a range is {{least: 0.001, most: 0.1, log: true}}")
        if not draws:
            raise ConfigError(f"{name}={dict(axis)}: a range is drawn from; add space.draws=20")
    elif not isinstance(axis, Sequence) or isinstance(axis, str) or not axis:
        raise ConfigError(f"{name}={axis}: must be a list of values")
    elif len({repr(value) for value in axis}) < len(axis):
        raise ConfigError(f"{name}={list(axis)}: must be different values")


def _is_range(axis: Mapping[str, Any]) -> bool:
    least: Any = axis.get("least")
    most: Any = axis.get("most")
    log = axis.get("log", False)
    if axis.keys() - _RANGE or not (is_finite(least) and is_finite(most) and isinstance(log, bool)):
        return False
    return least < most and (least > 0 or not log)


def _drawn(axes: Mapping[str, Any], draws: int, rng: torch.Generator) -> list[Candidate]:
    if not any(isinstance(axis, Mapping) for axis in axes.values()):
        grid = math.prod(map(len, axes.values()))
        if draws > grid:
            raise ConfigError(f"space.draws={draws}: there are {grid} candidates; use 0 for all")
        chosen = torch.randperm(grid, generator=rng)[:draws].tolist()
        return [_at(axes, place) for place in chosen]
    return [{key: _value(axis, rng) for key, axis in axes.items()} for _ in range(draws)]


def _at(axes: Mapping[str, Sequence[Any]], place: int) -> Candidate:
    # The candidate at a place of the grid, without listing the grid.
    candidate = {}
    for key, axis in reversed(list(axes.items())):
        place, index = divmod(place, len(axis))
        candidate[key] = axis[index]
    return {key: candidate[key] for key in axes}


def _value(axis: Any, rng: torch.Generator) -> Any:
    share = torch.rand((), generator=rng, dtype=torch.float64).item()
    if not isinstance(axis, Mapping):
        return axis[int(share * len(axis))]
    least, most = axis["least"], axis["most"]
    if axis.get("log"):
        drawn = math.exp(math.log(least) + share * (math.log(most) - math.log(least)))
    else:
        drawn = least + share * (most - least)
    return round(drawn) if isinstance(least, int) and isinstance(most, int) else drawn
