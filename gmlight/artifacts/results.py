"""Accuracies, and the file of a run's results."""

import json
import platform
import socket
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import gmlight
from gmlight.artifacts.record import Invocation, RunRecord
from gmlight.artifacts.run_folder import RunFolder
from gmlight.runtime.atomic import atomic_write
from gmlight.runtime.console import pluralize

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Accuracy:
    """Test accuracies of networks that were trained on one set.

    Args:
        values: in percent, one for each network.
        epochs: of each network's training.
        protocol: name of the way they were trained, as in `RunRecord.protocol`.
    """

    values: list[float]
    epochs: int = field(kw_only=True)
    protocol: str = field(kw_only=True)

    @property
    def mean(self) -> float:
        """Mean over the networks, in percent."""
        return statistics.fmean(self.values)

    @property
    def std(self) -> float:
        """Population standard deviation over the networks, in percentage points."""
        return statistics.pstdev(self.values)

    def __str__(self) -> str:
        return f"{self.mean:.2f} ± {self.std:.2f}"


@dataclass(frozen=True)
class Evaluation:
    """How well networks of one architecture do that were trained on one set.

    Args:
        name: the set's name in tables.
        images: number of images in the set.
        storage_bytes: size of the numbers that have to be stored for the set, 4 bytes each.
        architecture: the networks' name in tables.
        accuracy: of the networks.
    """

    name: str
    images: int
    storage_bytes: int
    architecture: str
    accuracy: Accuracy

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain containers, with mean, population std and n beside the single accuracies."""
        accuracy = self.accuracy
        return asdict(self) | {
            "accuracy": {
                "mean": accuracy.mean,
                "std": accuracy.std,
                "n": len(accuracy.values),
                "epochs": accuracy.epochs,
                "protocol": accuracy.protocol,
                "values": accuracy.values,
            },
        }


def write_result(
    folder: RunFolder,
    record: RunRecord | Invocation,
    evaluations: Sequence[Evaluation],
    measured: Mapping[str, Any],
) -> Path:
    """Writes result.json: the record, what was measured, and every single accuracy.

    Args:
        folder: of a run or of an evaluation.
        record: how it was called.
        evaluations: the set's own first.
        measured: other results by name, as plain containers.
    """
    content = {**record.as_dict(), **measured, "evaluations": [each.as_dict() for each in evaluations]}
    return write_json(folder.result, content)


def read_accuracy(folder: RunFolder) -> float:
    """Mean test accuracy of a finished run's set on its first architecture, in percent."""
    return folder.read_result()["evaluations"][0]["accuracy"]["mean"]


def read_accuracies(folder: RunFolder) -> dict[str, Accuracy]:
    """The accuracies of an evaluated set by architecture, from its folder's result."""
    rows = folder.read_result()["evaluations"]
    return accuracies_by_architecture([row for row in rows if row["name"] == rows[0]["name"]])


def accuracies_by_architecture(rows: Iterable[Mapping[str, Any]]) -> dict[str, Accuracy]:
    """Reads the accuracies back from what `Evaluation.as_dict` makes of evaluations of one set."""
    return {
        row["architecture"]: Accuracy(
            row["accuracy"]["values"],
            epochs=row["accuracy"]["epochs"],
            protocol=row["accuracy"].get("protocol", "plain"),  # older sets lack it
        )
        for row in rows
    }


def write_json(path: Path, content: Mapping[str, Any]) -> Path:
    """Writes a new file of plain containers with the schema version, completely or not at all.

    Raises:
        FileExistsError: there is such a file.
    """
    with atomic_write(path, new=True) as file:
        file.write_text(json.dumps({"schema_version": SCHEMA_VERSION, **content}, indent=2) + "\n")
    return path


def environment(device: torch.device) -> dict[str, str]:
    """Names the device, the host and the versions of the software that computed something."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"CPU, {pluralize(torch.get_num_threads(), 'thread')}"
    return {
        "device": name,
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "gmlight": gmlight.__version__,
        "torch": torch.__version__,
        "lightning": version("lightning"),
    }


def origin(made: dict[str, Any]) -> dict[str, Any]:
    """Identifies a condensed set in later results.

    Args:
        made: the set's metadata.
    """
    return {key: made[key] for key in ("sha256", "method", "scale", "command", "created")}


def images_per_class(config: Any) -> int:
    """Number of decoded images per class; `ipc` is the number of stored ones.

    Args:
        config: of a run.
    """
    synthetic = config["synthetic"]
    return synthetic.get("images", config["ipc"] * synthetic.get("factor", 1) ** 2)
