"""Resumes a run or a sweep: `python -m gmlight.train resume=<folder>`."""

import os
import shlex
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from gmlight.artifacts.record import RunRecord
from gmlight.artifacts.run_folder import RunFolder
from gmlight.artifacts.value_checks import is_count
from gmlight.config.former_names import LATER_KEYS, LATER_KEYS_OF_CHOICES, with_present_names
from gmlight.config.overrides import ADDED_ON_RESUME, flat, override_key, quote_if_needed
from gmlight.config.path_words import path_of
from gmlight.config.stored_words import check_words, read_plain_yaml, split_config_dir
from gmlight.config.sweep_resume import find_jobs, is_sweep, read_sweep, split_jobs
from gmlight.config.trust import Trust, with_trust_as_list
from gmlight.errors import ConfigError
from gmlight.runtime import slurm
from gmlight.runtime.atomic import atomic_write
from gmlight.runtime.paths import CONF_DIR

# Keys that may differ on resume: they change the synthetic set by rounding at most.
_CHANGEABLE = (
    "iterations", "scale.iterations", "dry_run", "checkpoint", "log_every", "diagnose_every", "logger",
    "callbacks", "trainer", "data_dir", "download", "dataset.root", "dataset.path", "evaluation", "memory",
    "speed.compile", "speed.microbatch", "speed.classes_per_block", "speed.allocator", "trust", "jobs",
)  # fmt: skip
# Exceptions among these keys: a change would mix two protocols in one accuracy curve.
_FIXED = ("evaluation.cutmix",)
# What resuming sets, for a run and for a sweep: the key of the folder, and Hydra's mode.
_PLACES = {False: ("hydra.run.dir", "RUN"), True: ("hydra.sweep.dir", "MULTIRUN")}
_COMMAND = "command"  # the key of config.yaml that holds the words of the command line


def expand(words: list[str]) -> list[str]:
    """Adds the words that started a run or a sweep to a command line with `resume=`.

    Args:
        words: of the command line, prepared; they win over the stored words.

    Returns:
        The words of the whole command; without `resume=`, the words unchanged.

    Raises:
        ConfigError: there is no such run, one run is resumed as a sweep, or a stored word is not one that a
            file may add.
    """
    named = [word for word in words if word.startswith("resume=")]
    if not named:
        return words
    folder = RunFolder(path_of(named[-1]))
    sweep = not folder.config.is_file() and is_sweep(folder.path)
    folder.refuse_strange_entries()
    flags = [word for word in words if word in ("-m", "--multirun")]
    if flags and not sweep:
        raise ConfigError(f"{named[-1]}: one run is resumed, not a sweep; leave out {flags[0]}")
    if sweep:
        stored, begun = read_sweep(folder.path, words), find_jobs(folder.path)
        for run in begun:
            run.refuse_strange_entries()
        configs = [read_run(run)[1] for run in begun if run.config.is_file()]
    elif folder.config.is_file():
        stored, *configs = read_run(folder)
    else:
        raise ConfigError(
            f"resume={folder.path}: no run there; name the folder with its {folder.config.name}"
        )
    stored_folder, stored = split_config_dir(stored)
    own_folder, typed = split_config_dir(words)
    if stored_folder and not own_folder:
        raise ConfigError(
            f"resume={folder.path}: the run had {shlex.join(stored_folder)}, which is not followed from a "
            "file; if it is yours, type it again"
        )
    new = [word for word in typed if word not in flags and not word.startswith(ADDED_ON_RESUME)]
    kept = _without_changed(stored, new)
    for job in split_jobs(kept, f"resume={folder.path}") if sweep else [kept]:
        check_words(job, Trust.of(words), f"resume={folder.path}")
    trusted = [word for word in with_trust_as_list(words) if word.startswith("trust=")]
    # A job of a sweep is resumed as a single run.
    quoted, (place, mode) = quote_if_needed(str(folder.path)), _PLACES[sweep]
    added = [f"resume={quoted}", f"{place}={quoted}", f"hydra.mode={mode}"]
    # Hydra takes flags before or after all other words.
    return [*own_folder, *kept, *new, *trusted, *_data_dir(configs, [*kept, *new]), *added]


def _without_changed(stored: list[str], new: list[str]) -> list[str]:
    changed = {override_key(word) for word in new}
    # If another option of a group is chosen, keys set inside the former option are dropped.
    inside = tuple(f"{key}." for key in changed if (CONF_DIR / key).is_dir())
    return [
        word
        for word in stored
        if "=" not in word or not (override_key(word) in changed or override_key(word).startswith(inside))
    ]


def _data_dir(configs: list[dict[str, Any]], words: list[str]) -> list[str]:
    # The default depends on the current folder, which may be another one than the run's.
    if os.environ.get("GMLIGHT_DATA_DIR") or "data_dir" in map(override_key, words):
        return []
    folders = [Path(str(config.get("data_dir"))) for config in configs[:1]]
    return [
        f"data_dir={quote_if_needed(str(path))}" for path in folders if path.is_absolute() and path.is_dir()
    ]


def read_run(folder: RunFolder) -> tuple[list[str], dict[str, Any]]:
    """Reads from config.yaml how the folder's run was started.

    Returns:
        The words of its command line, without the words that resuming adds; and its resolved configuration.

    Raises:
        ConfigError: the file is not the configuration of a run.
    """
    try:
        text = folder.config.read_text(encoding="utf-8")
        config = read_plain_yaml(text)
        words = config.pop(_COMMAND, None)
        if words is None:  # older runs have the words in a comment: `# python -m gmlight.train ...`
            words = shlex.split(text.split("\n", 1)[0].lstrip("# "))[3:]
        config = with_present_names(config)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{folder.config}: not the configuration of a run ({reason})") from None
    if not (isinstance(words, list) and all(isinstance(word, str) for word in words)):
        raise ConfigError(f"{folder.config}: {_COMMAND} must be the words of a command line")
    if not is_count(config.get("iterations", 0)):  # what else a run needs is compared with what is typed
        raise ConfigError(f"{folder.config}: not the configuration of a run (iterations)")
    return [word for word in words if not word.startswith(ADDED_ON_RESUME)], config


def claim(folder: RunFolder, record: RunRecord, *, resumed: bool) -> None:
    """Claims the folder for a run by writing config.yaml.

    If a finished run is resumed with more iterations, its result and its set are renamed.

    Args:
        folder: of the run.
        record: of the run.
        resumed: whether the run was started in this folder before.

    Raises:
        ConfigError: a new run finds another run in the folder; or a resumed run is finished, or differs in a
            key that changes the synthetic set.
    """
    # The comment on the first line is for users to copy.
    command = {_COMMAND: shlex.split(record.command)[3:]}
    content = f"# {record.command}\n" + yaml.safe_dump(command | record.config, sort_keys=False)
    if resumed:
        refuse_changes(folder, record.config)
        before = folder.finished_iterations
        if before is not None and record.config["iterations"] <= before:
            raise ConfigError(
                f"{folder.path}: the run is finished; raise iterations= above {before}, or use "
                "gmlight.evaluate"
            )
    try:
        with atomic_write(folder.config, new=not resumed) as file:
            file.write_text(content)
    except FileExistsError:
        raise ConfigError(f"{folder.path} already holds a run; choose another with hydra.run.dir=") from None
    if resumed:
        folder.set_result_aside()


def refuse_changes(
    folder: RunFolder, wanted: dict[str, Any], *, changeable: tuple[str, ...] = _CHANGEABLE
) -> None:
    """Refuses a configuration that differs from the folder's run in a key that must not change.

    Args:
        folder: of a run.
        wanted: the resolved configuration of the resumed run.
        changeable: keys, or prefixes of keys, that may differ.

    Raises:
        ConfigError: another key differs, or there are fewer iterations.
    """
    _, stored = read_run(folder)
    now = LATER_KEYS | dict(flat(wanted))
    before = LATER_KEYS | {key: now.get(key) for key in LATER_KEYS_OF_CHOICES} | dict(flat(stored))
    changed = [
        f"{key}={now.get(key)} (was {before.get(key, 'not set')})"
        for key in {**before, **now}
        if before.get(key) != now.get(key) and (key in _FIXED or not key.startswith(changeable))
    ]
    if changed:
        raise ConfigError(
            f"{folder.path}: would change the synthetic set of the run: {', '.join(changed)}; start a new run"
        )
    moved = now["image_lr_decay"] != "none" or now["image_lr_warmup"]
    if moved and now["iterations"] != before.get("iterations"):
        raise ConfigError(
            f"iterations={now['iterations']}: image_lr follows the run's {before.get('iterations')}; "
            "leave it out, or start a new run"
        )
    if now["iterations"] < before.get("iterations", 0):
        raise ConfigError(f"iterations={now['iterations']}: the run has {before['iterations']}; use no fewer")


def already_finished(folder: RunFolder, config: dict[str, Any]) -> bool:
    """Whether a job of a resumed sweep, or one that Slurm requeued, is finished.

    Raises:
        ConfigError: the finished run has another configuration.
    """
    again = slurm.was_requeued() or HydraConfig.get().mode == RunMode.MULTIRUN
    if not again or folder.finished_iterations != config["iterations"]:
        return False
    refuse_changes(folder, config, changeable=tuple(key for key in _CHANGEABLE if key != "evaluation"))
    return True
