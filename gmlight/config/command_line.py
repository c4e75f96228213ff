"""How a command runs: composed by Hydra, in this process or in a launcher's, its errors and signals told."""

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import hydra
import lightning
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from gmlight.config.compose import register_resolvers, settle
from gmlight.config.error_lines import line_on, odd_choice, without_a_common_folder
from gmlight.config.process import prepare_process
from gmlight.errors import ConfigError
from gmlight.runtime import slurm
from gmlight.runtime.console import numbered_output
from gmlight.runtime.distributed import is_main
from gmlight.runtime.paths import CONF_DIR
from gmlight.runtime.signals import Stopped, signal_handler

Function = Callable[[DictConfig, Path], "float | None"]
LEFT_WHERE_NOTHING_BEGAN = {".lock", "config.yaml.unfinished"}


def command(function: Function, config_name: str) -> None:
    """Composes the configuration from the command line and runs the function in its run folder.

    The folder has to be empty, unless `resume` names it or Slurm has started the job anew. A ConfigError
    ends it with one line and exit status 1; in a multirun the other runs go on. SIGINT and SIGTERM end it,
    and a multirun, with 130 and 143.

    Args:
        function: of the module gmlight.<config_name>.
    """
    # Hydra takes this word only before or after all others.
    sys.argv[1:] = words = sorted(sys.argv[1:], key=lambda word: word not in ("-m", "--multirun"))
    if odd := odd_choice(words) or without_a_common_folder(words):
        sys.exit(f"gmlight: {odd}")
    _prepare_hydra()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come back to here, where they are told
    job = _Job(function, config_name)
    try:
        with signal_handler.installed():
            hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=config_name)(job)()
    except Stopped as stopped:
        if not stopped.reported:  # while runs were in processes of their own
            line = f"stopped by {stopped}; a run that has begun goes on with resume=<its folder>"
            print(f"gmlight: {line}", file=sys.stderr)
        # Lightning ends rank 0 where another rank fails; to be stopped with it is no failure.
        sys.exit(stopped.status if is_main() else 0)
    except ConfigError as error:
        if not error.reported:
            print(f"gmlight: in a run of the sweep: {error}", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        mend = line_on(error)
        if mend is None:
            raise
        sys.exit(f"gmlight: {mend}")


@dataclass(frozen=True)
class _Job:
    """What Hydra calls for each run: in this process, or in another that one of its launchers starts.

    elsewhere: whether this is another process than that of the command line.
    """

    function: Function
    config_name: str
    elsewhere: bool = False

    def __call__(self, config: DictConfig) -> float | None:
        if not self.elsewhere:
            return self._run(config)
        number = HydraConfig.get().job.num
        beside = HydraConfig.get().runtime.choices["hydra/launcher"] == "joblib"
        requeue = signal.getsignal(signal.SIGUSR2)  # submitit's, when the time of a job is nearly over
        with signal_handler.installed(), numbered_output(number) if beside else contextlib.nullcontext():
            if callable(requeue):
                signal_handler.reinstall(signal.SIGUSR2)
            try:
                return self._run(config)
            except ConfigError as error:
                error.reported = False  # at the command line
                raise
            except Stopped as stopped:
                if stopped.signum == signal.SIGUSR2 and callable(requeue):
                    requeue(stopped.signum, None)
                sys.exit(stopped.status)

    def _run(self, config: DictConfig) -> float | None:
        folder = Path(HydraConfig.get().runtime.output_dir)
        try:
            there = {path.name for path in folder.iterdir()} - LEFT_WHERE_NOTHING_BEGAN
            if "resume" in config and slurm.was_requeued() and there & {"config.yaml", "result.json"}:
                config.resume = str(folder)
            if is_main() and config.get("resume") is None and there:
                raise ConfigError(
                    f"{folder} already holds a run or other files; choose another with hydra.run.dir="
                )
            _refuse_to_search_for_the_worst()
            settle(config)
            prepare_process(config)
            value = self.function(config, folder)
            if config.get("dry_run") and is_main():
                _remove_if_empty(folder)
            return value
        except ConfigError as error:
            _tell(str(error), folder)
            error.reported = True
            if not is_main():
                print(f"gmlight, on another process: {error}", file=sys.stderr)
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise  # Hydra keeps it and goes on with the next run
            sys.exit(1)
        except Stopped as stopped:
            _tell(stopped.line(folder), folder)
            stopped.reported = True
            raise

    def __reduce__(self) -> tuple[Any, ...]:
        # By name: what belongs to __main__ would be copied, with all of this process's that it refers to.
        return _job_elsewhere, (self.function.__name__, self.config_name)


def _job_elsewhere(function: str, config_name: str) -> _Job:
    _prepare_hydra()
    return _Job(getattr(import_module(f"gmlight.{config_name}"), function), config_name, elsewhere=True)


def _refuse_to_search_for_the_worst() -> None:
    # Optuna's own default.
    direction = HydraConfig.get().sweeper.get("direction")
    if HydraConfig.get().mode == RunMode.MULTIRUN and getattr(direction, "name", direction) == "minimize":
        raise ConfigError("a run's value is its accuracy; add hydra.sweeper.direction=maximize")


def _prepare_hydra() -> None:
    register_resolvers()
    # Launchers of conf/ have the names that their plugins give them; it is the plugins' keys that they set.
    warnings.filterwarnings("ignore", message="\\s*'hydra/.*is validated against ConfigStore schema")


def refuse_several_in_a_sweep(trainer: lightning.Trainer) -> None:
    """A sweep starts its runs in its own process; those that Lightning adds would start all of them again.

    Raises:
        ConfigError: this is a sweep, and a run has several processes that are not tasks of its own job.
    """
    hydra_config = HydraConfig.get()
    if trainer.world_size == 1 or hydra_config.mode != RunMode.MULTIRUN:
        return
    launcher = str(hydra_config.runtime.choices["hydra/launcher"])
    if trainer.strategy.launcher is not None or not launcher.startswith("submitit"):
        raise ConfigError(
            f"trainer.devices: {trainer.world_size} processes a run in a sweep, each would run the whole "
            "sweep; start the runs one by one, or as jobs of Slurm with trainer=slurm"
        )


def _tell(line: str, folder: Path) -> None:
    if is_main():  # of several processes one
        if not slurm.in_job():  # another task may just begin there
            _remove_if_empty(folder)
        print(f"gmlight: {line}", file=sys.stderr)


def _remove_if_empty(folder: Path) -> None:
    # What Hydra has just made for a run that is refused; never the current folder or one that a user named.
    words = HydraConfig.get().overrides.hydra
    if any(word.startswith(("hydra.run.dir", "hydra.sweep")) for word in words):
        return
    for empty in (folder, *folder.parents):
        if empty == Path.cwd() or any(empty.iterdir()):
            return
        empty.rmdir()
