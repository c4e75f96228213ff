"""Records how a command or a run was called, and the labels that tables give a run."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

_WITH = " with "


@dataclass(frozen=True)
class Invocation:
    """How a command was called.

    Args:
        command: the command line, quoted for a shell.
        overrides: the overrides on the command line.
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
        command: the command line, quoted for a shell.
        overrides: the overrides on the command line.
        choices: the chosen option of each config group.
        config: the resolved configuration, as plain containers.
        method: the method's name, with changes of its parts.
        departures: changes that keep the run out of the paper's tables; empty for the paper's settings.
        scale: the scale's name, with sizes that differ from it.
        architecture: the network's name, with changed options.
        protocol: name of the evaluation protocol: `plain` as in the paper, or another name.
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
            KeyError: the content is not the record of a run.
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
        """The run in one line, such as `mnist, ipc 1, mda, scale paper, seed 0`."""
        config = self.config
        names = (self.method, f"scale {self.scale}", f"seed {config['seed']}")
        return ", ".join([config["dataset"]["name"], f"ipc {config['ipc']}", *names])


def named_with(name: str, changes: list[str]) -> str:
    """Adds changes to a name: `reduced` and `iterations=30` give `reduced with iterations=30`."""
    return f"{name}{_WITH}{', '.join(changes)}" if changes else name


def base_name(label: str) -> str:
    """Removes the changes from a label: `reduced with iterations=30` gives `reduced`."""
    return split_label(label)[0]


def split_label(label: str) -> tuple[str, list[str]]:
    """Splits a label into the name and its changes, as `named_with` joined them."""
    name, _, changes = label.partition(_WITH)
    return name, changes.split(", ") if changes else []


def original_dataset(name: str) -> str:
    """Returns the dataset that a copy in another file format was made from: `cifar10` of `cifar10-jpeg`."""
    return name.removesuffix("-jpeg")


def headline(record: Mapping[str, Any]) -> str:
    """Describes a run in one line, from the content of a result.json or a set's metadata."""
    return RunRecord.from_dict(record).headline
