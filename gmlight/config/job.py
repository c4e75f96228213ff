"""Runs a command once, when Hydra calls it: in this process, or in a process of a launcher."""

import contextlib
import signal
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from gmlight.artifacts.run_folder import RunFolder
from gmlight.config.compose import complete, register_resolvers
from gmlight.config.error_lines import explain_error
from gmlight.config.process import prepare_process
from gmlight.errors import ConfigError
from gmlight.runtime import slurm
from gmlight.runtime.console import numbered_output
from gmlight.runtime.rank import is_main
from gmlight.runtime.signals import Stopped, signal_handler
from gmlight.runtime.streams import lasting_streams


@dataclass(frozen=True)
class Job:
    """The function that Hydra calls with the composed configuration of a run.

    Args:
        name: of the command; its function is `gmlight.commands.<name>.<name>(config, folder)`.
        launched: whether a launcher started this process; False in the process of the command line.
    """

    name: str
    launched: bool = False

    def __call__(self, config: DictConfig) -> float | None:
        if not self.launched:
            return self._run(config)
        number = HydraConfig.get().job.num
        shares_terminal = HydraConfig.get().runtime.choices["hydra/launcher"] == "joblib"
        streams = numbered_output(number) if shares_terminal else contextlib.nullcontext()
        requeue = signal.getsignal(
            signal.SIGUSR2
        )  # submitit's handler, called shortly before the job's time limit
        with signal_handler.installed(), lasting_streams(), streams:
            if callable(requeue):
                signal_handler.reinstall(signal.SIGUSR2)
            try:
                return self._run(config)
            except ConfigError as error:
                error.reported = False  # in the command line's process
                raise
            except Stopped as stopped:
                if stopped.signum == signal.SIGUSR2 and callable(requeue):
                    requeue(stopped.signum, None)
                sys.exit(stopped.status)

    def _run(self, config: DictConfig) -> float | None:
        folder = Path(HydraConfig.get().runtime.output_dir)
        try:
            _check_folder(config, folder)
            _check_search_direction()
            complete(config)
            # Slow imports come after the checks, so that a wrong override is reported at once.
            name = "dry_run" if self.name == "train" and config.dry_run else self.name
            function = getattr(import_module(f"gmlight.commands.{name}"), name)
            prepare_process(config)
            from gmlight.runtime.memory import naming_missing_memory  # imports torch

            with naming_missing_memory(), _explained():
                value = function(config, folder)
            if config.get("dry_run") and is_main():
                _remove_if_empty(folder)
            return value
        except ConfigError as error:
            _report(str(error), folder)
            error.reported = True
            if not is_main():
                print(f"gmlight, on another process: {error}", file=sys.stderr)
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise  # Hydra stores it and continues with the next run
            sys.exit(1)
        except Stopped as stopped:
            _report(stopped.line(_resumed_as(folder)), folder)
            stopped.reported = True
            raise

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickled by name: cloudpickle would copy a class of __main__ with everything that it refers to.
        return _launched_job, (self.name,)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    # Hydra would print the words of the command line before an error of another type.
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        message = explain_error(error)
        if message is None:
            raise
        raise ConfigError(message) from None


def _launched_job(name: str) -> Job:
    prepare_hydra()
    return Job(name, launched=True)


def prepare_hydra() -> None:
    """Registers the resolvers of conf/ and hides a warning about launchers."""
    register_resolvers()
    # conf/ has launchers with the names of the plugins' schemas, which Hydra warns about.
    warnings.filterwarnings("ignore", message="\\s*'hydra/.*is validated against ConfigStore schema")


def _check_folder(config: DictConfig, path: Path) -> None:
    folder = RunFolder(path)
    again = slurm.was_requeued()
    if config.get("resume") is not None and HydraConfig.get().mode == RunMode.MULTIRUN:
        config.resume, again = None, True  # a resumed sweep: each job goes on from what it finds
    if "resume" in config and again and folder.has_run:
        config.resume = str(path)
    if is_main() and config.get("resume") is None and not folder.is_free:
        raise ConfigError(f"{path} already holds a run or other files; choose another with hydra.run.dir=")


def _check_search_direction() -> None:
    # Optuna minimizes by default.
    direction = HydraConfig.get().sweeper.get("direction")
    if HydraConfig.get().mode == RunMode.MULTIRUN and getattr(direction, "name", direction) == "minimize":
        raise ConfigError("a run's value is its accuracy; add hydra.sweeper.direction=maximize")


def _resumed_as(folder: Path) -> Path:
    # Resuming a sweep's folder goes on with all its jobs; a search goes on with single runs only.
    hydra = HydraConfig.get()
    whole = hydra.mode == RunMode.MULTIRUN and hydra.runtime.choices["hydra/sweeper"] == "basic"
    return Path(hydra.sweep.dir).absolute() if whole else folder


def _report(line: str, folder: Path) -> None:
    if is_main():
        if not slurm.in_job():  # another task may be starting in the folder
            _remove_if_empty(folder)
        print(f"gmlight: {line}", file=sys.stderr)


def _remove_if_empty(folder: Path) -> None:
    # Removes the folder that Hydra made for a refused run, but never the current folder or a user's folder.
    words = HydraConfig.get().overrides.hydra
    if any(word.startswith(("hydra.run.dir", "hydra.sweep")) for word in words):
        return
    for empty in (folder, *folder.parents):
        if empty == Path.cwd() or any(empty.iterdir()):
            return
        empty.rmdir()
