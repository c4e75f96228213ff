"""Explains in one line why a part cannot be used."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from gmlight.config.part_errors import describe_error, part_name
from gmlight.errors import ConfigError

T = TypeVar("T")


def try_part(group: str, expected: str, function: Callable[[], T], option: str | None = None) -> T:
    """Calls a part on a tiny input, and restores torch's global random state.

    Args:
        group: such as `distance`.
        expected: the part's interface, for the message.
        function: calls the part.
        option: of the group; None: the chosen option.

    Returns:
        The part's output.

    Raises:
        ConfigError: the part raised an error; the line names it and the place in the part's code.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            return function()
    except ConfigError:
        raise
    except Exception as error:
        raise refusal(group, describe_error(error), expected, option) from error


def refusal(group: str, line: str, expected: str, option: str | None = None) -> ConfigError:
    """Builds the error that refuses a part: its name, the fault, and the expected interface."""
    return ConfigError(f"{part_name(group, option)}: {line}; {expected}")


def describe(value: Any) -> str:
    """Describes a value by its type; a tensor also by its shape."""
    if isinstance(value, Tensor):
        return f"a tensor of {str(value.dtype).removeprefix('torch.')} of shape {list(value.shape)}"
    return f"{type(value).__name__} {value!r}" if isinstance(value, int | float) else type(value).__name__
