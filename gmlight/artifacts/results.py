"""Accuracies of evaluations, and the result file of a run."""

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
from gmlight.artifacts.robust_scores import label_robust_scores
from gmlight.artifacts.run_folder import RunFolder
from gmlight.runtime.atomic import atomic_write
from gmlight.runtime.console import pluralize

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Accuracy:
    """Test accuracies of networks that were trained on one set.

    Args:
        values: accuracies in percent, one per network.
        epochs: training epochs of each network.
        protocol: name of the evaluation protocol, as in `RunRecord.protocol`.
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
    """The evaluation of one set with networks of one architecture.

    Args:
        name: the set's name in tables.
        images: number of images in the set.
        storage_bytes: size of the set's stored values in bytes, 4 each.
        architecture: the architecture's name in tables.
        accuracy: test accuracies of the networks.
    """

    name: str
    images: int
    storage_bytes: int
    architecture: str
    accuracy: Accuracy

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain containers, with mean, population std and n of the accuracies."""
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
    """Writes result.json: the record, the measurements and all accuracies.

    Args:
        folder: of a run or of an evaluation.
        record: how the command was called.
        evaluations: of the set, then of baselines.
        measured: other measurements by name, as plain containers.

    Returns:
        The file.
    """
    rows = [each.as_dict() for each in evaluations]
    scores = {name: {"lrs": score} for name, score in label_robust_scores(rows).items()}
    content = {**record.as_dict(), **measured, "evaluations": rows} | ({"scores": scores} if scores else {})
    return write_json(folder.result, content)


def read_accuracy(folder: RunFolder) -> float:
    """Reads the mean test accuracy of a finished run's set on the first architecture, in percent."""
    return folder.read_result()["evaluations"][0]["accuracy"]["mean"]


def read_accuracies(folder: RunFolder) -> dict[str, Accuracy]:
    """Reads the accuracies of an evaluated set by architecture, from the result in its folder."""
    rows = folder.read_result()["evaluations"]
    return accuracies_by_architecture([row for row in rows if row["name"] == rows[0]["name"]])


def accuracies_by_architecture(rows: Iterable[Mapping[str, Any]]) -> dict[str, Accuracy]:
    """Restores accuracies from evaluations of one set.

    Args:
        rows: outputs of `Evaluation.as_dict`.

    Returns:
        Accuracies by architecture.
    """
    return {
        row["architecture"]: Accuracy(
            row["accuracy"]["values"],
            epochs=row["accuracy"].get("epochs", 0),
            protocol=row["accuracy"].get("protocol", "plain"),  # older sets lack it
        )
        for row in rows
    }


def write_json(path: Path, content: Mapping[str, Any]) -> Path:
    """Writes plain containers and the schema version to a new JSON file, completely or not at all.

    Returns:
        The path.

    Raises:
        FileExistsError: the file exists.
    """
    with atomic_write(path, new=True) as file:
        file.write_text(json.dumps({"schema_version": SCHEMA_VERSION, **content}, indent=2) + "\n")
    return path


def environment(device: torch.device) -> dict[str, str]:
    """Returns the names of the device and the host, and the versions of the software."""
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


def origin(metadata: dict[str, Any]) -> dict[str, Any]:
    """Selects the metadata that identify a condensed set in later results.

    Args:
        metadata: the set's metadata.
    """
    keys = ("sha256", "method", "scale", "command", "created")
    return {key: metadata[key] for key in keys if key in metadata}


def images_per_class(config: Any) -> int:
    """Returns the number of decoded images per class; `ipc` is the number of stored images per class.

    Args:
        config: of a run.
    """
    synthetic = config["synthetic"]
    return synthetic.get("images", config["ipc"] * synthetic.get("factor", 1) ** 2)
