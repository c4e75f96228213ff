"""Runs a command's function inside a program; its signal handlers, warnings and Hydra state are restored."""

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gmlight.artifacts.run_folder import RunFolder
from gmlight.config.compose import complete
from gmlight.config.error_lines import explain_error, explain_invalid_choice
from gmlight.config.in_process import composed
from gmlight.config.overrides import override_key
from gmlight.config.path_words import prepare_paths
from gmlight.config.process import prepare_process
from gmlight.config.spelling import check_spelling
from gmlight.errors import ConfigError
from gmlight.runtime.console import silent
from gmlight.runtime.signals import Stopped, signal_handler

_COMMAND_LINE_ONLY = ("dry_run", "experiment", "resume")
# Keys that are arguments of the functions -> what to do instead.
_ARGUMENTS = {
    "dataset": "pass the dataset as the argument train or test",
    "run": "pass the condensed set as the first argument",
    "hydra.run.dir": "pass the folder as the argument folder",
}


def words_of(**values: Any) -> list[str]:
    """Converts values that are not None to command-line overrides, `key=value`."""
    return [f"{key}={value}" for key, value in values.items() if value is not None]


def check_overrides(overrides: Sequence[str]) -> list[str]:
    """Checks the overrides that a program passes, and returns them as a list.

    Raises:
        ConfigError: a word is not an override, or works on the command line only.
    """
    if isinstance(overrides, str):
        raise ConfigError(f"overrides={overrides!r}: must be a list of words, [{overrides!r}]")
    for word in overrides:
        if not isinstance(word, str) or "=" not in word:
            raise ConfigError(f"overrides: {word!r} must be a word such as 'image_lr=0.2'")
        if override_key(word) in _ARGUMENTS:
            raise ConfigError(f"overrides: {word}: {_ARGUMENTS[override_key(word)]}")
        if override_key(word) in _COMMAND_LINE_ONLY:
            raise ConfigError(
                f"overrides: {word} works on the command line only; use python -m gmlight.train {word}"
            )
    return list(overrides)


@contextmanager
def composed_command(
    name: str, words: list[str], config_dir: Path | None = None, filled: dict[str, Any] | None = None
) -> Iterator[tuple[DictConfig, Path]]:
    """Composes a command's configuration as `config.in_process.composed` does, after a check of the choices.

    Raises:
        ConfigError: a word is not a valid override.
    """
    check_spelling(name, [*words, *(["--config-dir"] if config_dir else [])])
    words = prepare_paths(words)
    if message := explain_invalid_choice(words):
        raise ConfigError(message)
    with composed(name, words, config_dir, filled) as composition:
        yield composition


@contextmanager
def quiet(enabled: bool) -> Iterator[None]:
    """Hides output and warnings in the block if enabled; always restores the program's warning filters."""
    with silent(enabled), warnings.catch_warnings():
        if enabled:
            warnings.simplefilter("ignore")
        yield


def complete_for_one_process(config: DictConfig) -> None:
    """Completes and checks the configuration.

    Raises:
        ConfigError: a value is wrong, or the trainer has several processes.
    """
    if "strategy" in config.trainer:
        raise ConfigError(
            "trainer: a program uses one process; use trainer=auto, or the command line for several"
        )
    complete(config)


def run_in_folder(
    command: Callable[[DictConfig, Path], object], config: DictConfig, folder: Path, *, made_here: bool
) -> None:
    """Runs a command's function in the run folder.

    Args:
        command: the function.
        config: completed.
        folder: must be empty or absent, unless a run is resumed.
        made_here: whether gmlight chose the folder; then an empty folder is removed after an error.

    Raises:
        ConfigError: an error that the user can fix.
        KeyboardInterrupt: the program was interrupted.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"folder={folder}: is a file; name a folder")
    if config.get("resume") is None and folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"folder={folder}: already holds a run or other files; name another")
    if config.get("resume") is not None and not RunFolder(folder).config.is_file():
        raise ConfigError(f"folder={folder}: no run there to resume; leave out resume=True to start one")
    try:
        prepare_process(config)
        folder.mkdir(parents=True, exist_ok=True)
        with signal_handler.installed_in_program():
            command(config, folder)
    except Stopped as stopped:
        line = f"stopped by {stopped}"
        if stopped.resumable:
            line += f"; resume with gmlight.condense(..., folder={str(folder)!r}, resume=True)"
        if stopped.status == 130:
            raise KeyboardInterrupt(line) from None
        print(f"gmlight: {line}", file=sys.stderr)
        sys.exit(stopped.status)
    except Exception as error:
        if made_here:
            _remove_if_empty(folder)
        message = None if isinstance(error, ConfigError) else explain_error(error)
        if message is None:
            raise
        raise ConfigError(message) from error


def _remove_if_empty(folder: Path) -> None:
    for empty in (folder, *folder.parents):
        if empty == Path.cwd() or (empty.is_dir() and any(empty.iterdir())):
            return
        if empty.is_dir():
            empty.rmdir()
