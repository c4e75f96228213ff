"""How a command runs: composed by Hydra, in this process or in a launcher's, its errors and signals told."""

import contextlib
import errno
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

import hydra
import lightning
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from gmlight import scheduler
from gmlight.config import CONF_DIR, override_key, prepare_process, register_resolvers, settle
from gmlight.distributed import is_main
from gmlight.errors import ConfigError
from gmlight.interruption import Stopped, interruption

Function = Callable[[DictConfig, Path], "float | None"]

_CANNOT_WRITE = (
    errno.EACCES, errno.EDQUOT, errno.EEXIST, errno.EFBIG, errno.ENOSPC, errno.ENOTDIR, errno.EPERM,
    errno.EROFS,
)  # fmt: skip
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
    if odd := _odd_choice(words) or _without_a_common_folder(words):
        sys.exit(f"gmlight: {odd}")
    _prepare_hydra()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come back to here, where they are told
    job = _Job(function, config_name)
    try:
        with interruption.installed():
            hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=config_name)(job)()
    except Stopped as stopped:
        if not stopped.told:  # while runs were in processes of their own
            line = f"stopped by {stopped}; a run that has begun goes on with resume=<its folder>"
            print(f"gmlight: {line}", file=sys.stderr)
        # Lightning ends rank 0 where another rank fails; to be stopped with it is no failure.
        sys.exit(stopped.status if is_main() else 0)
    except ConfigError as error:
        if not error.told:
            print(f"gmlight: in a run of the sweep: {error}", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        mend = _line_on(error)
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
        with interruption.installed(), _numbered(number) if beside else contextlib.nullcontext():
            if callable(requeue):
                interruption.take(signal.SIGUSR2)
            try:
                return self._run(config)
            except ConfigError as error:
                error.told = False  # at the command line
                raise
            except Stopped as stopped:
                if stopped.signum == signal.SIGUSR2 and callable(requeue):
                    requeue(stopped.signum, None)
                sys.exit(stopped.status)

    def _run(self, config: DictConfig) -> float | None:
        folder = Path(HydraConfig.get().runtime.output_dir)
        try:
            there = {path.name for path in folder.iterdir()} - LEFT_WHERE_NOTHING_BEGAN
            if "resume" in config and scheduler.was_requeued() and there & {"config.yaml", "result.json"}:
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
            error.told = True
            if not is_main():
                print(f"gmlight, on another process: {error}", file=sys.stderr)
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise  # Hydra keeps it and goes on with the next run
            sys.exit(1)
        except Stopped as stopped:
            _tell(stopped.line(folder), folder)
            stopped.told = True
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


def _odd_choice(words: list[str]) -> str | None:
    # Where a choice is a number or the like, Hydra itself fails.
    groups = {path.name for path in CONF_DIR.iterdir() if path.is_dir()}
    for word in words:
        key = override_key(word)
        if key not in groups or "=" not in word:
            continue
        try:
            value = OverridesParser.create().parse_override(word).value()
        except HydraException:  # Hydra will say so
            continue
        names = value if isinstance(value, list) else [value]
        if any(isinstance(name, int | float | list | dict) for name in names):
            options = sorted(path.stem for path in (CONF_DIR / key).glob("*.yaml"))
            return f"{word}: no option of {key}; use one of {', '.join(options)}"
    return None


def _without_a_common_folder(words: list[str]) -> str | None:
    # Processes that torchrun starts would each name a folder by the time of its own start.
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    if "-m" in words or "--multirun" in words:
        return "torchrun: one run has several processes, not a sweep; leave out --multirun"
    if any(word.startswith("hydra.run.dir=") for word in words):
        return None
    return "torchrun: its processes have to agree on a new folder; name it with hydra.run.dir="


def _line_on(error: Exception) -> str | None:
    """What a person can mend; null: nothing."""
    # A launcher or sweeper is chosen and its plugin not installed.
    for plugin, package, extra in (
        ("launcher/joblib", "hydra_joblib_launcher", "sweep"),
        ("launcher/submitit", "hydra_submitit_launcher", "sweep"),
        ("sweeper/optuna", "hydra_optuna_sweeper", "optuna"),
    ):
        if f"hydra/{plugin}" in str(error) or f"'hydra_plugins.{package}" in str(error):
            return f"Hydra's {plugin} is not installed; pip install 'gmlight[{extra}]'"
    if type(error).__module__.split(".")[0] in ("joblib", "submitit"):
        return (
            f"the sweep has ended: {_shortened(error)}; runs that have begun go on with resume=<their folder>"
        )
    if isinstance(error, RuntimeError) and 'Could not detect "srun"' in str(error):  # submitit's
        return "hydra/launcher=submitit_slurm: there is no Slurm here; use hydra/launcher=joblib"
    if isinstance(error, ValueError) and "Unavailable parameter" in str(error):  # submitit's
        return f"hydra.launcher: {_shortened(error)}"
    if isinstance(error, HydraException | OmegaConfBaseException):
        cause = f"\n{error.__cause__}" if isinstance(error.__cause__, OmegaConfBaseException) else ""
        return f"{error}{cause}"
    if isinstance(error, OSError) and error.errno in _CANNOT_WRITE:
        return f"cannot write {error.filename}: {error.strerror}; choose a folder with hydra.run.dir="
    if isinstance(error, ValueError) and "No trials are completed" in str(error):  # Optuna's
        return "no run of the search has come to its end"
    return None


def _shortened(error: Exception) -> str:
    words = " ".join(str(error).split())
    return words if len(words) <= 300 else f"{words[:300]} ..."


@contextlib.contextmanager
def _numbered(number: int) -> Iterator[None]:
    # Runs of a sweep that share a terminal: each line says whose it is.
    streams = [_Numbered(stream, f"#{number}  ") for stream in (sys.stdout, sys.stderr)]
    try:
        with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
            yield
    finally:
        for stream in streams:
            stream.finish()


class _Numbered:
    """A stream that puts a prefix before each line, and is no terminal."""

    def __init__(self, stream: TextIO, prefix: str) -> None:
        self._stream, self._prefix = stream, prefix
        self._rest = ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        if lines:  # in one piece, so that no other process comes between
            self._stream.write("".join(f"{self._prefix}{line}\n" for line in lines))
            self._stream.flush()
        return len(text)

    def finish(self) -> None:
        if self._rest:
            self.write("\n")

    def isatty(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _tell(line: str, folder: Path) -> None:
    if is_main():  # of several processes one
        if not scheduler.in_job():  # another task may just begin there
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
