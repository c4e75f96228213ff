"""Resumes a run: `python -m gmlight.train resume=<run folder>`."""

import shlex
from pathlib import Path
from typing import Any

import yaml

from gmlight.artifacts.record import RunRecord
from gmlight.artifacts.run_folder import RunFolder
from gmlight.config.former_names import with_present_names
from gmlight.config.overrides import ADDED_ON_RESUME, flat, override_key
from gmlight.config.stored_words import check_words, read_plain_yaml, split_config_dir
from gmlight.config.trust import Trust, with_trust_as_list
from gmlight.errors import ConfigError
from gmlight.runtime import slurm
from gmlight.runtime.atomic import atomic_write
from gmlight.runtime.paths import CONF_DIR

# Keys that may differ on resume: they change the synthetic set by rounding at most.
_CHANGEABLE = (
    "iterations", "scale.iterations", "dry_run", "checkpoint", "log_every", "diagnose_every", "logger",
    "callbacks", "trainer", "data_dir", "download", "dataset.root", "evaluation", "memory", "speed.compile",
    "speed.microbatch", "speed.classes_per_block", "speed.allocator", "trust",
)  # fmt: skip
# Exceptions among these keys: a change would mix two protocols in one accuracy curve.
_FIXED = ("evaluation.cutmix",)
_COMMAND = "command"  # the key of config.yaml that holds the words of the command line


def expand(words: list[str]) -> list[str]:
    """Adds the words that started a run to a command line with `resume=`.

    Args:
        words: of the command line; they win over the stored words.

    Returns:
        The words of the whole command; without `resume=`, the words unchanged.

    Raises:
        ConfigError: there is no such run, the command is a sweep, or a stored word is not one that a file
            may add.
    """
    named = [word for word in words if word.startswith("resume=")]
    if not named:
        return words
    if "-m" in words or "--multirun" in words:
        raise ConfigError(f"{named[-1]}: one run is resumed, not a sweep; leave out --multirun")
    path = _unquoted(named[-1].removeprefix("resume="))
    folder = _latest() if path == "latest" else RunFolder(Path(path))
    if not folder.config.is_file():
        raise ConfigError(
            f"resume={folder.path}: no run there; name the folder with its {folder.config.name}"
        )
    own_folder, typed = split_config_dir(words)
    new = [word for word in typed if not word.startswith(ADDED_ON_RESUME)]
    changed = {override_key(word) for word in new}
    # If another option of a group is chosen, keys set inside the former option are dropped.
    inside = tuple(f"{key}." for key in changed if (CONF_DIR / key).is_dir())
    stored_folder, stored = split_config_dir(read_run(folder)[0])
    if stored_folder and not own_folder:
        raise ConfigError(
            f"resume={folder.path}: the run had {shlex.join(stored_folder)}, which is not followed from a "
            "file; if it is yours, type it again"
        )
    kept = [
        word
        for word in stored
        if "=" not in word or not (override_key(word) in changed or override_key(word).startswith(inside))
    ]
    check_words(kept, Trust.of(words), f"resume={folder.path}")
    # A job of a sweep is resumed as a single run.
    quoted = _quoted(folder.path)
    trusted = [word for word in with_trust_as_list(words) if word.startswith("trust=")]
    words = [*own_folder, *kept, *new, *trusted]  # Hydra takes flags before or after all other words
    return [*words, f"resume={quoted}", f"hydra.run.dir={quoted}", "hydra.mode=RUN"]


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
    before, now = dict(flat(stored)), dict(flat(wanted))
    changed = [
        f"{key}={now.get(key)} (was {before.get(key, 'not set')})"
        for key in {**before, **now}
        if before.get(key) != now.get(key) and (key in _FIXED or not key.startswith(changeable))
    ]
    if changed:
        raise ConfigError(
            f"{folder.path}: would change the synthetic set of the run: {', '.join(changed)}; start a new run"
        )
    if now["iterations"] < before.get("iterations", 0):
        raise ConfigError(f"iterations={now['iterations']}: the run has {before['iterations']}; use no fewer")


def already_finished(folder: RunFolder, config: dict[str, Any]) -> bool:
    """Whether Slurm requeued a job whose run is finished.

    Raises:
        ConfigError: the finished run has another configuration.
    """
    if not slurm.was_requeued() or folder.finished_iterations != config["iterations"]:
        return False
    refuse_changes(folder, config, changeable=tuple(key for key in _CHANGEABLE if key != "evaluation"))
    return True


def _latest() -> RunFolder:
    runs = [run for run in RunFolder.find_all(Path("runs")) if run.config.exists()]
    if not runs:
        raise ConfigError("resume=latest: there is no run in runs/; name its folder")
    return max(runs, key=lambda run: run.config.stat().st_mtime)


def _quoted(folder: Path) -> str:
    # Hydra's grammar requires quotes around special characters.
    path = str(folder)
    return path if all(c.isalnum() or c in "/._-" for c in path) else "'" + path.replace("'", "\\'") + "'"


def _unquoted(word: str) -> str:
    return word[1:-1].replace("\\'", "'") if word.startswith("'") else word
