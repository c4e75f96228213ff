"""Resumes a sweep: its command again in its folder, where each job goes on from what it finds."""

import math
from pathlib import Path

import yaml
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep
from hydra.errors import HydraException

from gmlight.artifacts.run_folder import RunFolder
from gmlight.config.overrides import ADDED_ON_RESUME, last_of_each_key, override_key
from gmlight.config.stored_words import read_plain_yaml
from gmlight.errors import ConfigError

_FILE = "multirun.yaml"  # Hydra writes it when a sweep starts
MOST_JOBS = 10_000
_SUBDIR = "hydra.sweep.subdir"  # tells which folder belongs to which job


def is_sweep(folder: Path) -> bool:
    """Whether a sweep was started in the folder."""
    return (folder / _FILE).is_file()


def read_sweep(folder: Path, typed: list[str]) -> list[str]:
    """Reads the words that started a sweep, without Hydra's own, such as `hydra/launcher=joblib`.

    Args:
        folder: of the sweep.
        typed: words of the command line.

    Raises:
        ConfigError: the file cannot be read, or the sweep cannot be resumed as a whole.
    """
    try:
        hydra = read_plain_yaml((folder / _FILE).read_text(encoding="utf-8"))["hydra"]
        words, own = hydra["overrides"]["task"], hydra["overrides"]["hydra"]
        sweeper = hydra["runtime"]["choices"]["hydra/sweeper"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        raise ConfigError(f"{folder / _FILE}: not the configuration of a sweep") from None
    if not all(
        isinstance(each, list) and all(isinstance(word, str) for word in each) for each in (words, own)
    ):
        raise ConfigError(f"{folder / _FILE}: not the configuration of a sweep")
    if sweeper != "basic":
        raise ConfigError(f"resume={folder}: a search is not resumed as a whole; name the folder of one run")
    for word in own:
        if override_key(word) == _SUBDIR and _SUBDIR not in map(override_key, typed):
            raise ConfigError(f"resume={folder}: the sweep had other names of folders; add {word}")
    return [word for word in words if not word.startswith(ADDED_ON_RESUME)]


def split_jobs(words: list[str], source: str) -> list[list[str]]:
    """Returns the words of each job of a sweep, in their order; the last word of a key counts.

    Args:
        words: of the sweep, from its file.
        source: the file, for messages.

    Raises:
        ConfigError: a word cannot be read, or there are more than MOST_JOBS jobs.
    """
    try:
        overrides = OverridesParser.create().parse_overrides(last_of_each_key(words))
    except HydraException as error:
        raise ConfigError(f"{source}: {' '.join(str(error).split())}") from None
    jobs = math.prod(map(_choices, overrides))
    if not jobs <= MOST_JOBS:
        raise ConfigError(f"{source}: more than {MOST_JOBS} jobs, or glob(); name the folder of one run")
    return BasicSweeper.split_arguments(overrides, None)[0]


def _choices(override: Override) -> float:
    # Counts without listing them: a file may name a range of any length.
    value = override.value()
    if isinstance(value, ChoiceSweep):
        return len(value.list)
    if isinstance(value, RangeSweep):
        start, stop = (float(each or 0) for each in (value.start, value.stop))
        return max(1.0, math.ceil(abs(stop - start) / abs(value.step))) if value.step else math.inf
    return math.inf if override.is_sweep_override() else 1


def find_jobs(folder: Path) -> list[RunFolder]:
    """Returns the folders of a sweep's jobs that have begun."""
    return [run for run in map(RunFolder, sorted(folder.iterdir())) if run.path.is_dir() and run.has_run]
