"""Reads which keys, functions and options conf/ has, to compare a stored configuration with."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from gmlight.config.former_names import name_keys, present_name
from gmlight.runtime.paths import CONF_DIR

_ROOTS = (CONF_DIR / "train.yaml", CONF_DIR / "continual.yaml")
_PACKAGE = re.compile(r"^#\s*@package\s+(\S+)", re.MULTILINE)
# Keys and names of earlier versions, in older sets.
_LOGGERS = [f"gmlight.reporting.loggers.{name}_logger" for name in ("csv", "no", "tensorboard", "wandb")]
_FORMER: list[dict[str, Any]] = [
    {"validation_batch": None, "schedule": {"validation_batch": None}},
    {"synthetic": {"_target_": "gmlight.condensation.synthetic.Pixels", "start": None}},
    *({"logger": {"_target_": name, "_partial_": True, "project": None}} for name in _LOGGERS),
]


@dataclass
class KnownKeys:
    """The keys that any option has at one place of the configuration.

    Args:
        keys: by name; those of a list's entries are under `[]`.
        names: functions and classes that options name at this place, by key: `_target_`, or `path`.
    """

    keys: "dict[Any, KnownKeys]" = field(default_factory=dict)
    names: dict[str, set[str]] = field(default_factory=dict)

    @property
    def is_group(self) -> bool:
        """Whether the value at this place can only be a group of keys, not a list or a table by number."""
        return bool(self.keys) and all(isinstance(key, str) and key != "[]" for key in self.keys)

    @property
    def is_table(self) -> bool:
        """Whether options have a table by number at this place, whose numbers are free."""
        return any(isinstance(key, int) for key in self.keys)

    def add(self, node: Any) -> None:
        """Adds the keys and names of an option's content."""
        for entry in node if isinstance(node, list) else []:
            self.keys.setdefault("[]", KnownKeys()).add(entry)
        if not isinstance(node, dict):
            return
        for key in name_keys(node):
            self.names.setdefault(key, set()).add(present_name(node[key]))
        for key, value in node.items():
            self.keys.setdefault(key, KnownKeys()).add(value)

    def at(self, path: Iterable[str]) -> "KnownKeys":
        """Returns the keys at a path, which is made if it is absent."""
        known = self
        for key in path:
            known = known.keys.setdefault(key, KnownKeys())
        return known


def read_known_keys(folders: Iterable[Path]) -> tuple[KnownKeys, dict[str, set[str]]]:
    """Reads conf/ and further folders of options.

    Args:
        folders: besides conf/, in the same layout.

    Returns:
        The keys of a run's configuration, and the names of the options of each group.
    """
    known, options = KnownKeys(), dict[str, set[str]]()
    for root in _ROOTS:
        known.add({key: value for key, value in _read(root).items() if key not in ("defaults", "hydra")})
    for former in _FORMER:
        known.add(former)
    for folder in (CONF_DIR, *folders):
        for path in sorted(folder.glob("*/**/*.yaml")):
            group = path.relative_to(folder).parent
            if group.parts[0] == "hydra":
                continue
            options.setdefault(group.as_posix(), set()).add(path.stem)
            content = {key: value for key, value in _read(path).items() if key not in ("defaults", "hydra")}
            known.at(group.parts)
            known.at(_package(path, group)).add(content)
    return known, options


def _package(path: Path, group: Path) -> Iterable[str]:
    # Where the option's content is in the configuration.
    found = _PACKAGE.search(path.read_text(encoding="utf-8", errors="replace"))
    if found is None or found[1] == "_group_":
        return group.parts
    return [] if found[1] == "_global_" else found[1].split(".")


def _read(path: Path) -> dict[Any, Any]:
    # A file that is no mapping is reported by Hydra if it is chosen.
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}
