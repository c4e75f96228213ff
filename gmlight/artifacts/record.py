"""What is known about a run before it has found anything: how it was called, and what tables call it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

_WITH = " with "


@dataclass(frozen=True)
class Invocation:
    """How a command was called.

    Args:
        command: the command line, as a shell takes it.
        overrides: the words of the command line that change the configuration.
        choices: the chosen option of each config group.
        config: the resolved configuration, as plain containers.
    """

    command: str
    overrides: list[str]
    choices: dict[str, str]
    config: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain containers, in the order in which files hold them."""
        return asdict(self)


@dataclass(frozen=True)
class RunRecord:
    """How a run was called, and the names that tables give it.

    Args:
        command: the command line, as a shell takes it.
        overrides: the words of the command line that change the configuration.
        choices: the chosen option of each config group.
        config: the resolved configuration, as plain containers.
        method: the method's name, with the changes of its parts.
        departures: whatever keeps the run out of the paper's tables; empty for a run of the paper's.
        scale: the scale's name, with the sizes that differ from it.
        architecture: the network's name, with its changed options.
        protocol: how evaluation networks are trained: `plain` as in the paper, or another name.
    """

    command: str
    overrides: list[str]
    choices: dict[str, str]
    config: dict[str, Any]
    method: str
    departures: list[str]
    scale: str
    architecture: str
    protocol: str

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "RunRecord":
        """Reads the record back from a result.json or from the metadata of a condensed set.

        Files of older versions may lack the choices, the departures and the protocol. A run without recorded
        departures is kept out of the paper's tables.

        Raises:
            KeyError: it is not the record of a run.
        """
        return cls(
            command=content["command"],
            overrides=content.get("overrides", []),
            choices=content.get("choices", {}),
            config=content["config"],
            method=content["method"],
            departures=content.get("departures", ["departures were not recorded"]),
            scale=content["scale"],
            architecture=content["architecture"],
            protocol=content.get("protocol", "plain"),
        )

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain containers, in the order in which files hold them."""
        return asdict(self)

    @property
    def headline(self) -> str:
        """The run in one line: `mnist, ipc 1, mda, scale paper, seed 0`."""
        config = self.config
        names = (self.method, f"scale {self.scale}", f"seed {config['seed']}")
        return ", ".join([config["dataset"]["name"], f"ipc {config['ipc']}", *names])


def named_with(name: str, changes: list[str]) -> str:
    """`reduced` and `iterations=30` -> `reduced with iterations=30`."""
    return f"{name}{_WITH}{', '.join(changes)}" if changes else name


def base_name(label: str) -> str:
    """`reduced with iterations=30` -> `reduced`."""
    return label.partition(_WITH)[0]


def headline(record: Mapping[str, Any]) -> str:
    """The run in one line, from the content of a result.json or a set's metadata."""
    return RunRecord.from_dict(record).headline
