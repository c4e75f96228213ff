"""Says in one line why a part cannot be used."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from gmlight.config.part_errors import describe_error, part_name
from gmlight.errors import ConfigError

T = TypeVar("T")


def try_part(group: str, expected: str, function: Callable[[], T], option: str | None = None) -> T:
    """Calls a part on a tiny input; torch's generator is afterwards as it was.

    Args:
        group: such as `distance`.
        expected: how the part is called and what it gives, for the message.
        function: calls the part.
        option: of the group; None: the chosen one.

    Raises:
        ConfigError: the part raised an error; the line names it, and the place in the part's code.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            return function()
    except ConfigError:
        raise
    except Exception as error:
        raise refusal(group, describe_error(error), expected, option) from error


def refusal(group: str, line: str, expected: str, option: str | None = None) -> ConfigError:
    """The one line: the part, what is wrong, and what is expected."""
    return ConfigError(f"{part_name(group, option)}: {line}; {expected}")


def describe(value: Any) -> str:
    """A value's type, of a tensor its shape."""
    if isinstance(value, Tensor):
        return f"a tensor of {str(value.dtype).removeprefix('torch.')} of shape {list(value.shape)}"
    return f"{type(value).__name__} {value!r}" if isinstance(value, int | float) else type(value).__name__
