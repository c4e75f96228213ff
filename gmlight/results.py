"""What a run found: result.json, and the table that is printed."""

import contextlib
import glob
import json
import platform
import socket
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning
import torch
from rich import box
from rich.console import Console
from rich.table import Table

import gmlight
from gmlight.distributed import is_main
from gmlight.errors import ConfigError
from gmlight.evaluation import Accuracy
from gmlight.files import whole

SCHEMA_VERSION = 1


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


def write_record(path: Path, record: dict[str, Any]) -> Path:
    """Writes plain containers as JSON, whole or not at all; nothing is written over."""
    with whole(path, new=True) as file:
        file.write_text(json.dumps({"schema_version": SCHEMA_VERSION} | record, indent=2) + "\n")
    return path


def folders_named(patterns: list[str]) -> list[Path]:
    """The folders that any of the globs names, in order."""
    return sorted({Path(name) for pattern in patterns for name in glob.glob(pattern) if Path(name).is_dir()})


def refuse_bad_paths(paths: dict[str, Path]) -> None:
    """Before anything is done: nothing is written over, and every file can be written.

    Args:
        paths: by the key that names them.

    Raises:
        ConfigError: names the key and the mend.
    """
    for key, path in paths.items():
        if path.exists():
            raise ConfigError(f"{key}={path}: is there already; name another file")
        if not path.parent.is_dir():
            raise ConfigError(f"{key}={path}: there is no folder {path.parent}; make it first")


def clock(seconds: float) -> str:
    """`0:01:30`."""
    return str(timedelta(seconds=round(seconds)))


def images_per_class(config: Any) -> int:
    """Images that come of what is learned, by a configuration; `ipc` is what is stored."""
    synthetic = config["synthetic"]
    return synthetic.get("images", config["ipc"] * synthetic.get("factor", 1) ** 2)


def in_bytes(size: float) -> str:
    """`120 KiB`."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} GiB"


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


def counted(number: int, things: str) -> str:
    """`1 network`, `2 networks`."""
    return f"{number} {things}" + ("" if number == 1 else "s")


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
        "lightning": lightning.__version__,
    }


def new_console() -> Console:
    """Where results are printed, by rank 0: text as it is, no word of it taken for markup."""
    return Console(markup=False, highlight=False, quiet=not is_main())


def origin(made: dict[str, Any]) -> dict[str, Any]:
    """Which set a later result is of, from the set's metadata."""
    return {key: made[key] for key in ("sha256", "method", "scale", "command", "created")}


def headline(record: dict[str, Any]) -> str:
    """What is or was run, in one line; the record is `describe`'s or an artifact's metadata."""
    config = record["config"]
    parts = [
        config["dataset"]["name"],
        f"ipc {config['ipc']}",
        record["method"],
        f"scale {record['scale']}",
        f"seed {config['seed']}",
    ]
    return ", ".join(parts)


def print_table(rows: list[Row], record: dict[str, Any], console: Console) -> None:
    """Test accuracies: mean ± population std over n networks, in percent; storage: of its numbers."""
    title = f"{headline(record)}, protocol {rows[0].accuracy.protocol}"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_style="bold", title_justify="left")
    for heading in ("training set", "images", "storage", "network", "epochs", "accuracy %", "n"):
        numeric = heading not in ("training set", "network")
        table.add_column(heading, justify="right" if numeric else "left")
    for row in rows:
        cells = (
            row.name,
            row.images,
            in_bytes(row.storage_bytes),
            row.architecture,
            row.accuracy.epochs,
            row.accuracy,
            len(row.accuracy.values),
        )
        table.add_row(*map(str, cells))
    console.print(table)


def print_path(name: str, path: Path | str, console: Console) -> None:
    """A path, or how to get to one, to copy: never broken into lines."""
    console.print(f"{name:<8} {short(path) if isinstance(path, Path) else path}", soft_wrap=True)


def short(path: Path) -> Path:
    """Relative where it lies below the current folder."""
    with contextlib.suppress(ValueError):
        return path.resolve().relative_to(Path.cwd())
    return path
