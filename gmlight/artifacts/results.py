"""Accuracies and the other content of result.json."""

import json
import platform
import socket
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import gmlight
from gmlight.runtime.atomic import whole
from gmlight.runtime.console import counted

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Accuracy:
    """Test accuracies in percent, one a network, and how the networks were trained.

    protocol: `config.protocol_label`.
    """

    values: list[float]
    epochs: int = field(kw_only=True)
    protocol: str = field(kw_only=True)

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def std(self) -> float:
        """Population standard deviation over the networks."""
        return statistics.pstdev(self.values)

    def __str__(self) -> str:
        return f"{self.mean:.2f} ± {self.std:.2f}"


@dataclass(frozen=True)
class Row:
    """One evaluated training set: its name, its number of images, the architecture, the accuracies.

    storage_bytes: that have to be kept to have it, 4 for each number.
    """

    name: str
    images: int
    storage_bytes: int
    architecture: str
    accuracy: Accuracy


def write(folder: Path, rows: list[Row], record: dict[str, Any]) -> Path:
    """Writes result.json: the rows with every single accuracy, and the record of what was run."""
    return write_record(folder / "result.json", record | {"evaluations": [as_record(row) for row in rows]})


def read_accuracy(folder: Path) -> float:
    """Mean test accuracy of a finished run's set on its first architecture, in percent."""
    return json.loads((folder / "result.json").read_text())["evaluations"][0]["accuracy"]["mean"]


def read_accuracies(folder: Path) -> dict[str, Accuracy]:
    """The accuracies of an evaluated set by architecture, from its folder's result.json."""
    rows = json.loads((folder / "result.json").read_text())["evaluations"]
    return accuracies_by_architecture([row for row in rows if row["name"] == rows[0]["name"]])


def accuracies_by_architecture(rows: Iterable[Mapping[str, Any]]) -> dict[str, Accuracy]:
    """The accuracies of rows as `as_record` makes them, by architecture."""
    return {
        row["architecture"]: Accuracy(
            row["accuracy"]["values"],
            epochs=row["accuracy"]["epochs"],
            protocol=row["accuracy"].get("protocol", "plain"),  # older sets lack it
        )
        for row in rows
    }


def write_record(path: Path, record: dict[str, Any]) -> Path:
    """Writes plain containers as JSON, whole or not at all; nothing is written over."""
    with whole(path, new=True) as file:
        file.write_text(json.dumps({"schema_version": SCHEMA_VERSION} | record, indent=2) + "\n")
    return path


def as_record(row: Row) -> dict[str, Any]:
    """A row as plain containers, with mean, population std and n beside the single accuracies."""
    accuracy = row.accuracy
    return asdict(row) | {
        "accuracy": {
            "mean": accuracy.mean,
            "std": accuracy.std,
            "n": len(accuracy.values),
            "epochs": accuracy.epochs,
            "protocol": accuracy.protocol,
            "values": accuracy.values,
        },
    }


def environment(device: torch.device) -> dict[str, str]:
    """The machine and the versions behind a figure."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"CPU, {counted(torch.get_num_threads(), 'thread')}"
    return {
        "device": name,
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "gmlight": gmlight.__version__,
        "torch": torch.__version__,
        "lightning": version("lightning"),
    }


def origin(made: dict[str, Any]) -> dict[str, Any]:
    """Which set a later result is of, from the set's metadata."""
    return {key: made[key] for key in ("sha256", "method", "scale", "command", "created")}


def images_per_class(config: Any) -> int:
    """Images that come of what is learned, by a configuration; `ipc` is what is stored."""
    synthetic = config["synthetic"]
    return synthetic.get("images", config["ipc"] * synthetic.get("factor", 1) ** 2)
