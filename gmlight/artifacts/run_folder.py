"""A run's folder: its files, its lock, and the point from which it resumes."""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from gmlight.artifacts.checkpoint_io import LAST, PREVIOUS, AtomicCheckpointIO, find_checkpoint
from gmlight.artifacts.metrics_csv import drop_rows_from
from gmlight.errors import ConfigError
from gmlight.runtime.distributed import is_main

CONFIG, LOCK = "config.yaml", ".lock"


@dataclass(frozen=True)
class RunFolder:
    """The files of a run: the one place where their names are spelled.

    Args:
        path: the folder; it need not exist.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration, as yaml; its presence makes the folder a run's."""
        return self.path / "config.yaml"

    @property
    def result(self) -> Path:
        """Accuracies and the record of the run, as JSON; its presence means that the run is finished."""
        return self.path / "result.json"

    @property
    def condensed(self) -> Path:
        """The folder of the condensed set."""
        return self.path / "condensed"

    @property
    def samples_folder(self) -> Path:
        """The folder of pictures of the synthetic set over time."""
        return self.path / "samples"

    def samples(self, k: int) -> Path:
        """The picture of the synthetic set after k outer iterations."""
        return self.samples_folder / f"{k:05d}.png"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """Metrics of the image updates, as CSV."""
        return self.path / "metrics.csv"

    @property
    def page(self) -> Path:
        """The run's page."""
        return self.path / "report.html"

    @property
    def lock(self) -> Path:
        """Held by the process that works in the folder."""
        return self.path / ".lock"

    @property
    def accuracy_log(self) -> Path:
        """Accuracies of the final evaluation, a line a network, as soon as they are known."""
        return self.path / "evaluation.jsonl"


def find_start(folder: Path, console: Console) -> Path | None:
    """The checkpoint from which the folder's run goes on; none: from its beginning.

    Raises:
        ConfigError: none can be read; or the run is finished and there is none.
    """
    checkpoint, unreadable = find_checkpoint(folder / "checkpoints")
    for line in unreadable:
        console.print(f"{line}; the one before it is used", soft_wrap=True)
    iterations = finished_iterations(folder)
    if checkpoint is None and iterations:
        raise ConfigError(f"{folder}: the run is finished and has no checkpoint any more; start a new run")
    return checkpoint


def forget_after(
    folder: Path, checkpoint: Path | None, iterations: int, updates: int, console: Console
) -> None:
    """Takes away what was left after the checkpoint, for it comes again; a damaged one above all."""
    step = 0 if checkpoint is None else AtomicCheckpointIO().load_checkpoint(checkpoint)["global_step"]
    console.print(f"goes on after image update {step}")
    if not is_main():
        return
    if checkpoint is not None and checkpoint.name == PREVIOUS:
        checkpoint.with_name(LAST).unlink(missing_ok=True)
    drop_rows_from(RunFolder(folder).metrics, step, keep_evaluation=step < iterations * updates)
    for picture in (folder / "samples").glob("*.png"):
        if int(picture.stem) * updates > step:
            picture.unlink()


def finished_iterations(folder: Path) -> int | None:
    """Of how many outer iterations the folder has the result; null: of a run that is not finished."""
    result = folder / "result.json"
    return json.loads(result.read_text())["config"]["iterations"] if result.exists() else None


def set_aside(folder: Path, iterations: int | None) -> None:
    # What a finished run has left keeps another name. The result goes last: it says that there is more.
    if iterations is None:
        return
    for path in (folder / "condensed", folder / "result.json"):
        if path.exists():
            path.rename(path.with_name(f"{path.stem}-k{iterations}{path.suffix}"))


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """The folder is this process's alone.

    Raises:
        ConfigError: another process has it.
    """
    with (folder / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "another process"
            raise ConfigError(f"{folder} is in use by {owner}; wait for it or stop it") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
        file.truncate(0)
