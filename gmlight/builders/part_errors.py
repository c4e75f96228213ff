"""Builds parts that the configuration names; explains in one line why a part cannot be built or used."""

import difflib
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from torch import Tensor

from gmlight.config.overrides import override_key
from gmlight.errors import ConfigError

T = TypeVar("T")


def build_part(group: str, node: Any, option: str | None = None) -> Any:
    """Builds the part that a config group's node names.

    Args:
        group: such as `distance`.
        node: the part's configuration, with `_target_`.
        option: name of the option, for messages; None: the chosen option.

    Returns:
        The part: an object or a function.

    Raises:
        ConfigError: the part cannot be built.
    """
    try:
        return hydra.utils.instantiate(node, _convert_="all")
    except HydraException as error:
        cause: BaseException = error
        while cause.__cause__ is not None and not isinstance(cause, ConfigError):
            cause = cause.__cause__
        if isinstance(cause, ConfigError):
            raise cause from None
        named = re.search(r"target '([^']+)'", str(error))
        target = named[1] if named else group
        reason = _explain_absence(target, cause) or describe_error(cause)
        raise ConfigError(f"{part_name(group, option)}: cannot build {target}: {reason}") from error


def part_name(group: str, option: str | None = None) -> str:
    """Names a part in a message: by its yaml, or by its group if the command line changes its keys.

    Args:
        group: such as `distance`.
        option: of the group; None: the chosen option.
    """
    if not HydraConfig.initialized():
        return group
    hydra_config = HydraConfig.get()
    if option is None:
        if any(override_key(word).startswith(f"{group}.") for word in hydra_config.overrides.task):
            return group
        option = hydra_config.runtime.choices.get(group)
    for source in hydra_config.runtime.config_sources:
        path = Path(source.path) / group / f"{option}.yaml"
        if source.schema == "file" and path.is_file():
            return f"{group}={option} ({path})"
    return group if option is None else f"{group}={option}"


def _explain_absence(target: str, cause: BaseException) -> str | None:
    # Python's own message for a missing name speaks of missing packages.
    module, _, name = target.rpartition(".")
    if not isinstance(cause, ImportError | AttributeError) or module not in sys.modules:
        return None
    near = difflib.get_close_matches(name, dir(sys.modules[module]), 1)
    return f"module {module} has no {name}" + "".join(f"; did you mean {each}?" for each in near)


def describe_error(error: BaseException) -> str:
    """Describes an error by its type, its first line, and the line of the user's code that raised it."""
    package = Path(__file__).parents[1]
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if _is_user_code(frame.filename, package)
    ]
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {_first_line(error)}{place}"


def _is_user_code(filename: str, package: Path) -> bool:
    library = Path(traceback.__file__).parent
    path = Path(filename)
    installed = "site-packages" in path.parts or path.is_relative_to(library) or path.is_relative_to(package)
    return not (installed or filename.startswith("<frozen"))


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


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
