"""Builds the parts that the configuration names, and says in one line why one cannot be built."""

import difflib
import re
import sys
import traceback
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException

from gmlight.config.overrides import override_key
from gmlight.errors import ConfigError


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


def _explain_absence(target: str, cause: BaseException) -> str | None:
    # What Python says of a name that a module lacks is about packages.
    module, _, name = target.rpartition(".")
    if not isinstance(cause, ImportError | AttributeError) or module not in sys.modules:
        return None
    near = difflib.get_close_matches(name, dir(sys.modules[module]), 1)
    return f"module {module} has no {name}" + "".join(f"; did you mean {each}?" for each in near)


def describe_error(error: BaseException) -> str:
    """The error's type, its first line, and the place in the part's code."""
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
