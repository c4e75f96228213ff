"""Builds the parts that the configuration names, and says in one line why one cannot be built or used."""

import difflib
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from torch import Tensor

from gmlight.config.compose import instantiate
from gmlight.config.overrides import override_key
from gmlight.errors import ConfigError

T = TypeVar("T")


def build_part(group: str, node: Any, option: str | None = None) -> Any:
    """Builds what a group's node names.

    Args:
        group: such as `distance`.
        node: of the configuration.
        option: if it is not the one that was chosen.

    Raises:
        ConfigError: it cannot be built; the line says why.
    """
    try:
        return instantiate(node)
    except HydraException as error:
        cause: BaseException = error
        while cause.__cause__ is not None and not isinstance(cause, ConfigError):
            cause = cause.__cause__
        if isinstance(cause, ConfigError):
            raise cause from None
        target = str(node.get("_target_", "")) if isinstance(node, Mapping) else ""
        reason = _explain_absence(target, cause) or _describe_error(cause)
        raise ConfigError(f"{part_name(group, option)}: cannot build {target}: {reason}") from error


def part_name(group: str, option: str | None = None) -> str:
    """What a part is called in a message: its yaml, or the key where the command line has changed it.

    Args:
        group: such as `distance`.
        option: of the group; None: the chosen one.
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
        raise refusal(group, _describe_error(error), expected, option) from error


def refusal(group: str, line: str, expected: str, option: str | None = None) -> ConfigError:
    """The one line: the part, what is wrong, and what is expected."""
    return ConfigError(f"{part_name(group, option)}: {line}; {expected}")


def describe(value: Any) -> str:
    """A value's type, of a tensor its shape."""
    if isinstance(value, Tensor):
        return f"a tensor of {str(value.dtype).removeprefix('torch.')} of shape {list(value.shape)}"
    return f"{type(value).__name__} {value!r}" if isinstance(value, int | float) else type(value).__name__


def _explain_absence(target: str, cause: BaseException) -> str | None:
    # What Python says of a name that a module lacks is about packages.
    module, _, name = target.rpartition(".")
    if not isinstance(cause, ImportError | AttributeError) or module not in sys.modules:
        return None
    near = difflib.get_close_matches(name, dir(sys.modules[module]), 1)
    return f"module {module} has no {name}" + "".join(f"; did you mean {each}?" for each in near)


def _describe_error(error: BaseException) -> str:
    # With the place in the part itself, not in what it calls.
    ours = Path(__file__).parents[1]
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_own(frame.filename, ours)]
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {_first_line(error)}{place}"


def _is_own(filename: str, ours: Path) -> bool:
    library = Path(traceback.__file__).parent
    path = Path(filename)
    foreign = "site-packages" in path.parts or path.is_relative_to(library) or path.is_relative_to(ours)
    return not (foreign or filename.startswith("<frozen"))


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
