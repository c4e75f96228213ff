"""A run's folder: its files, its lock, and the checkpoint from which it resumes."""

import fcntl
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gmlight.artifacts.metrics_csv import drop_rows_from
from gmlight.artifacts.result_file import read_result_file
from gmlight.artifacts.value_checks import is_count
from gmlight.errors import ConfigError
from gmlight.runtime.atomic import partial_path

_OUTPUTS = ("evaluations", "analyses", "exports")  # folders of commands on a set, as in conf/


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run's files; no other module spells their names.

    Args:
        path: the folder; it may be absent.
    """

    path: Path

    @classmethod
    def of_checkpoint(cls, checkpoint: Path) -> "RunFolder":
        """Returns the run folder of a checkpoint."""
        return cls(checkpoint.parent.parent)

    @classmethod
    def find_all(cls, root: Path) -> "list[RunFolder]":
        """Finds the folders of runs, finished or not, and of evaluations, at any depth; sorted by path."""
        run = cls(root)
        names = (run.config.name, run.result.name)
        return [cls(path) for path in sorted({path.parent for name in names for path in root.rglob(name)})]

    @property
    def config(self) -> Path:
        """The resolved configuration, as yaml; it exists once the folder belongs to a run."""
        return self.path / "config.yaml"

    @property
    def result(self) -> Path:
        """Accuracies and the record of the run, as JSON; it exists once the run is finished."""
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
        """Returns the path of the picture of the synthetic set after k outer iterations."""
        return self.samples_folder / f"{k:05d}.png"

    @property
    def all_samples(self) -> list[Path]:
        """The pictures of the synthetic set, oldest first; a file's stem is its outer iteration."""
        if self.samples_folder.is_symlink():  # of a stranger: a page shows no pictures from elsewhere
            return []
        pictures = [
            path
            for path in self.samples_folder.glob("*.png")
            if re.fullmatch("[0-9]{1,9}", path.stem) and path.is_file() and not path.is_symlink()
        ]
        return sorted(pictures, key=lambda path: int(path.stem))

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def last_checkpoint(self) -> Path:
        """The newest checkpoint."""
        return self.checkpoints / "last.ckpt"

    @property
    def previous_checkpoint(self) -> Path:
        """The checkpoint before the last one."""
        return self.checkpoints / "previous.ckpt"

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
        """The lock file, locked by the process that works in the folder."""
        return self.path / ".lock"

    @property
    def accuracy_log(self) -> Path:
        """Accuracies of the final evaluation, one line per network, written after each test."""
        return self.path / "evaluation.jsonl"

    @property
    def network_pool(self) -> Path:
        """The trained networks of `network_start=pool`, as safetensors."""
        return self.path / "pool.safetensors"

    @property
    def origin(self) -> Path:
        """Digest of the data and versions of the code that the run began with."""
        return self.path / "origin.json"

    @property
    def has_run(self) -> bool:
        """Whether a run has begun in the folder."""
        return self.config.exists() or self.result.exists()

    def refuse_strange_entries(self) -> None:
        """Refuses a folder whose entries lead elsewhere or are of another kind: a run writes to them.

        Raises:
            ConfigError: an entry is a link, a pipe or a device, a file of a run is a folder, or a folder a
                file.
        """
        inner = [path for folder in (self.samples_folder, self.checkpoints) for path in folder.glob("*")]
        for path in [*self.path.glob("*"), *self.path.glob(".*"), *inner]:
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise ConfigError(f"{path}: is a link or no file; a run is resumed only without such entries")
        files = (
            self.config, self.result, self.metrics, self.page, self.lock, self.accuracy_log, self.origin,
            self.network_pool, *inner,
        )  # fmt: skip
        folders = (self.condensed, self.samples_folder, self.checkpoints)
        for path in (*filter(Path.is_dir, files), *filter(Path.is_file, folders)):
            kind = "folder, not a file" if path.is_dir() else "file, not a folder"
            raise ConfigError(f"{path}: is a {kind}; remove it, or copy the run's folder again")

    def refuse_linked_outputs(self) -> None:
        """Refuses a folder in which the results of commands on its set would be written elsewhere.

        Raises:
            ConfigError: the folder of evaluations, analyses or exports is a link.
        """
        for name in _OUTPUTS:
            if (self.path / name).is_symlink():
                raise ConfigError(f"{self.path / name}: is a link, which leads elsewhere; remove it")

    @property
    def is_free(self) -> bool:
        """Whether a new run may use the folder: it is empty, or has only files of a failed start."""
        leftovers = {self.lock.name, partial_path(self.config).name}
        return not self.path.exists() or {path.name for path in self.path.iterdir()} <= leftovers

    @property
    def finished_iterations(self) -> int | None:
        """Number of outer iterations of a finished run; None if the run is not finished."""
        if not self.result.exists():
            return None
        config = self.read_result().get("config")
        iterations = config.get("iterations") if isinstance(config, dict) else None
        if not is_count(iterations):
            raise ConfigError(f"{self.result}: not the result of a run (config.iterations is missing)")
        return iterations

    def read_result(self) -> dict[str, Any]:
        """Reads the result of a finished run.

        Raises:
            ConfigError: the file cannot be read, or is not a result.
        """
        try:
            return read_result_file(self.result)
        except ConfigError as error:
            raise ConfigError(f"{self.result}: not the result of a run ({error})") from None

    def set_result_aside(self) -> None:
        """Renames the set and the result of a finished run, to make place for those of a longer run."""
        iterations = self.finished_iterations
        if iterations is None:
            return
        # The result comes last: it marks that something is left to rename.
        for path in (self.condensed, self.result):
            if path.exists():
                path.rename(path.with_name(f"{path.stem}-k{iterations}{path.suffix}"))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Locks the folder against other processes.

        Raises:
            ConfigError: another process holds the lock.
        """
        with self.lock.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                owner = file.read().strip() or "another process"
                raise ConfigError(f"{self.path} is in use by {owner}; wait for it or stop it") from None
            file.truncate(0)
            with suppress(OSError):  # the disk may be full
                os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}".encode())
            try:
                yield
            finally:
                file.truncate(0)

    def find_checkpoint(self, notify: Callable[[str], None]) -> Path | None:
        """Finds the newest readable checkpoint.

        Args:
            notify: called with a line for each unreadable checkpoint.

        Returns:
            The checkpoint; None if the run has none yet.

        Raises:
            ConfigError: no checkpoint can be read; or the run is finished and has none.
        """
        from gmlight.artifacts.checkpoint_file import read_checkpoint  # loads torch, which is slow

        unreadable: list[str] = []
        for path in (self.last_checkpoint, self.previous_checkpoint):
            if not path.exists():
                continue
            try:
                read_checkpoint(path)
            except Exception as error:  # torch raises many types for damaged files
                reason = error if isinstance(error, ConfigError) else f"{path}: {str(error).splitlines()[0]}"
                unreadable.append(str(reason))
                continue
            for line in unreadable:
                notify(f"{line}; using the previous checkpoint")
            return path
        if unreadable:
            raise ConfigError(f"{'; '.join(unreadable)}; no checkpoint can be read, start a new run")
        if self.finished_iterations:
            raise ConfigError(f"{self.path}: the run is finished and has no checkpoint; start a new run")
        return None

    def rewind(self, checkpoint: Path | None, *, iterations: int, updates: int) -> int:
        """Deletes metrics and pictures later than the checkpoint, because the resumed run writes them again.

        Args:
            checkpoint: to resume from; None: the run starts at its first update.
            iterations: outer iterations of the resumed run, K.
            updates: image updates per outer iteration, T.

        Returns:
            Number of image updates done.

        Raises:
            ConfigError: the checkpoint has more updates than the run.
        """
        from gmlight.artifacts.checkpoint_file import read_checkpoint  # loads torch, which is slow

        step = 0 if checkpoint is None else read_checkpoint(checkpoint)["global_step"]
        if step > iterations * updates:
            raise ConfigError(
                f"{checkpoint}: was saved after image update {step}, but iterations={iterations} has only "
                f"{iterations * updates}; use iterations>={-(-step // updates)}"
            )
        if checkpoint == self.previous_checkpoint:  # the last one is damaged
            self.last_checkpoint.unlink(missing_ok=True)
        # A run repeats the evaluation at this step unless its picture exists, and always the final one.
        evaluated = self.samples(step // updates).exists() and step < iterations * updates
        drop_rows_from(self.metrics, step, keep_evaluation=evaluated)
        for picture in self.all_samples:
            if int(picture.stem) * updates > step:
                picture.unlink()
        return step
