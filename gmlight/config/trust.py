"""Compares a stored configuration with what conf/ and the user's own words can build.

A configuration in a file may be a stranger's. It is data: nothing in it is imported, resolved or given to
Hydra before each of its keys and names is known.
"""

import itertools
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

from gmlight.config.former_names import name_keys
from gmlight.config.known_keys import KnownKeys, read_known_keys
from gmlight.errors import ConfigError

MISSING = "???"  # OmegaConf's mark of a missing value
CONFIG_DIR = ("--config-dir", "-cd")
# Keys whose value is text, which is taken literally.
_TEXT = (
    "data_dir", "dataset.classes", "dataset.name", "dataset.path", "dataset.root", "initialization.path",
    "logger.wandb.project", "scale.name",
)  # fmt: skip
_NOTHING = KnownKeys()


@dataclass(frozen=True)
class Trust:
    """What a stored configuration may name.

    Args:
        known: keys and names of conf/, and of the folders that the user gives with `--config-dir`.
        options: names of the options of each group.
        modules: the user's own modules, from `trust=`.
    """

    known: KnownKeys
    options: dict[str, set[str]]
    modules: tuple[str, ...]

    @classmethod
    def of(cls, words: Sequence[str]) -> "Trust":
        """Reads what the user's own command line trusts: `--config-dir <folder>` and `trust=<module>`.

        Raises:
            ConfigError: `trust=` does not name modules.
        """
        return cls(*read_known_keys(config_folders(words)), trusted_modules(words))

    def check(self, config: Any, source: str) -> None:
        """Checks a run's stored configuration, or a part of it.

        Args:
            config: plain containers, with present names.
            source: the file, for messages.

        Raises:
            ConfigError: a key or a name is not known, or a value would be resolved.
        """
        try:
            self._check(config, self.known, "")
        except (ConfigError, RecursionError) as error:
            line = error if isinstance(error, ConfigError) else "the configuration is nested too deeply"
            raise ConfigError(f"{source}: {line}") from None

    def _check(self, node: Any, known: KnownKeys, key: str, free: bool = False) -> None:
        # `free`: arguments of a trusted function, which may have any name.
        if isinstance(node, dict):
            free = free or self._names_trusted(node)
            for name in node:
                self._check_entry(node, name, known, f"{key}.{name}" if key else str(name), free)
        elif known.is_group and node is not None:
            raise ConfigError(f"{key or 'the configuration'}: must be a group of keys")
        elif isinstance(node, list):
            for entry in node:
                self._check(entry, known.keys.get("[]", _NOTHING), key, free)
        elif isinstance(node, str):
            self._check_text(node, key)

    def _check_entry(self, node: dict[Any, Any], name: Any, known: KnownKeys, key: str, free: bool) -> None:
        value = node[name]
        if name in known.names or name in name_keys(node) or name == "_target_":
            if not (
                isinstance(value, str) and (value in known.names.get(name, ()) or self._is_trusted(value))
            ):
                raise ConfigError(f"{key}={value}: {_mend(value)}")
        elif name in known.keys or free or (isinstance(name, int) and known.is_table):
            self._check(value, known.keys.get(name, _NOTHING), key, free)
        elif self._names_trusted(value):
            self._check(value, _NOTHING, key)
        elif isinstance(value, dict) and "_target_" in value:
            raise ConfigError(f"{key}._target_={value['_target_']}: {_mend(value['_target_'])}")
        else:
            raise ConfigError(
                f"{key}: conf/ has no such key; if an option of yours has it, add --config-dir <its folder>"
            )

    def _check_text(self, text: str, key: str) -> None:
        literal = key in _TEXT and (text != MISSING or key == "dataset.classes")
        if resolves(text) and not literal:
            raise ConfigError(f"{key}={text}: a stored value is not resolved; it must be plain")
        if key == "evaluation.architectures" and text not in self.options["architecture"]:
            raise ConfigError(
                f"{key}: {text} is no option; if it is yours, add --config-dir <the folder of your options>"
            )

    def _names_trusted(self, node: Any) -> bool:
        return isinstance(node, dict) and self._is_trusted(node.get("_target_"))

    def _is_trusted(self, name: Any) -> bool:
        return isinstance(name, str) and any(f"{name}.".startswith(f"{module}.") for module in self.modules)


def resolves(text: str) -> bool:
    """Whether OmegaConf takes the text for a reference or for a missing value."""
    return "${" in text or text == MISSING


def config_folders(words: Sequence[str]) -> list[Path]:
    """Returns the folders that a command line gives with `--config-dir`, `-cd` or `hydra.searchpath=`."""
    after = [after for word, after in itertools.pairwise(words) if word in CONFIG_DIR]
    joined = [
        word.partition("=")[2] for word in words if word.partition("=")[0] in CONFIG_DIR and "=" in word
    ]
    searched = [
        folder.strip(" '\"").removeprefix("file://")
        for word in words
        if word.startswith("hydra.searchpath=")
        for folder in word.partition("=")[2].strip("[]'\"").split(",")
    ]
    return [Path(folder) for folder in (*after, *joined, *searched) if "://" not in folder]


def trusted_modules(words: Sequence[str]) -> tuple[str, ...]:
    """Returns the modules that a command line names with `trust=`.

    Raises:
        ConfigError: a name is not a module's name.
    """
    given = [word.removeprefix("trust=").strip("[]'\"") for word in words if word.startswith("trust=")]
    names = [name.strip() for name in ",".join(given).split(",") if name.strip() not in ("", "null")]
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")):
            raise ConfigError(
                f"trust={name}: must be modules of yours, such as trust=mine or trust=[mine,other]"
            )
    return tuple(names)


def with_trust_as_list(words: Sequence[str]) -> list[str]:
    """Writes `trust=a,b` as `trust=[a,b]`, because Hydra takes a comma for a sweep."""
    return [
        f"trust=[{','.join(trusted_modules([word]))}]" if word.startswith("trust=") else word
        for word in words
    ]


def _mend(name: Any) -> str:
    module = str(name).rpartition(".")[0]
    if not re.fullmatch(r"[\w.]+", module):
        return "is not the name of a function or class; do not use this file"
    package = module.partition(".")[0]
    if package in sys.stdlib_module_names or package in packages_distributions():
        # Such a name is how a file would run code: no hasty reader shall type it.
        return "conf/ does not build this here; do not use this file (if it is yours, see SECURITY.md)"
    return f"conf/ does not build this here; only if the code is yours, add trust={module}"
