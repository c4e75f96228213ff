"""Going on with a run where it stopped: `python -m gmlight.train resume=<run folder>`."""

import shlex
from pathlib import Path
from typing import Any

import yaml

from gmlight.artifacts.record import RunRecord
from gmlight.artifacts.run_folder import RunFolder
from gmlight.config.former_names import with_present_names
from gmlight.config.overrides import PUT_IN, flat, override_key
from gmlight.errors import ConfigError
from gmlight.runtime import slurm
from gmlight.runtime.atomic import atomic_write
from gmlight.runtime.paths import CONF_DIR

# What may be other than in the run that goes on: nothing of it has a part in S but by rounding.
_CHANGEABLE = (
    "iterations", "scale.iterations", "dry_run", "checkpoint", "log_every", "diagnose_every", "logger",
    "callbacks", "trainer", "data_dir", "download", "dataset.root", "evaluation", "memory", "speed.compile",
    "speed.microbatch", "speed.classes_per_block", "speed.allocator",
)  # fmt: skip

_FIXED = ("evaluation.cutmix",)  # it would change the protocol of a curve


def expand(words: list[str]) -> list[str]:
    """The words of a command line, `resume=` replaced by the words that began the run it names.

    Words beside it win over those. Without `resume=` the words are as they were.

    Raises:
        ConfigError: there is no such run.
    """
    named = [word for word in words if word.startswith("resume=")]
    if not named:
        return words
    if "-m" in words or "--multirun" in words:
        raise ConfigError(f"{named[-1]}: one run goes on, not a sweep; leave out --multirun")
    path = _unquoted(named[-1].removeprefix("resume="))
    folder = _latest() if path == "latest" else RunFolder(Path(path))
    if not folder.config.is_file():
        raise ConfigError(
            f"resume={folder.path}: no run there; name the folder with its {folder.config.name}"
        )
    anew = [word for word in words if not word.startswith(PUT_IN)]
    changed = {override_key(word) for word in anew}
    # Another option of a group has no use for what was said of the one before.
    within = tuple(f"{key}." for key in changed if (CONF_DIR / key).is_dir())
    kept = [
        word
        for word in _stored_words(folder)
        if "=" not in word or not (override_key(word) in changed or override_key(word).startswith(within))
    ]
    # In a sweep it may have been one of several jobs; now it is the only one.
    quoted = _quoted(folder.path)
    return [*kept, *anew, f"resume={quoted}", f"hydra.run.dir={quoted}", "hydra.mode=RUN"]


def claim(folder: RunFolder, record: RunRecord, *, goes_on: bool) -> None:
    """Makes the folder this run's by its config.yaml, or goes on with the run that made it.

    What a finished run has left keeps another name, where it goes on with more iterations.

    Raises:
        ConfigError: there is a run already; or the one that goes on differs where that changes S, or is
            finished.
    """
    content = f"# {record.command}\n" + yaml.safe_dump(record.config, sort_keys=False)
    if goes_on:
        refuse_changes(folder, record.config)
        before = folder.finished_iterations
        if before is not None and record.config["iterations"] <= before:
            raise ConfigError(
                f"{folder.path}: the run is finished; raise iterations= above {before}, or use "
                "gmlight.evaluate"
            )
    try:
        with atomic_write(folder.config, new=not goes_on) as file:
            file.write_text(content)
    except FileExistsError:
        raise ConfigError(f"{folder.path} already holds a run; choose another with hydra.run.dir=") from None
    if goes_on:
        folder.set_result_aside()


def refuse_changes(folder: RunFolder, wanted: dict[str, Any], *, but: tuple[str, ...] = _CHANGEABLE) -> None:
    """Compares the configuration with that of the folder's run.

    Args:
        but: keys, or the beginnings of keys, that may differ.

    Raises:
        ConfigError: another one does.
    """
    stored = with_present_names(yaml.safe_load(folder.config.read_text()))
    before, now = dict(flat(stored)), dict(flat(wanted))
    changed = [
        f"{key}={now.get(key)} (was {before.get(key, 'not there yet')})"
        for key in {**before, **now}
        if before.get(key) != now.get(key) and (key in _FIXED or not key.startswith(but))
    ]
    if changed:
        raise ConfigError(
            f"{folder.path}: would change the set that the run is about: {', '.join(changed)}; "
            "start a new run"
        )
    if now["iterations"] < before["iterations"]:
        raise ConfigError(f"iterations={now['iterations']}: the run has {before['iterations']}; use no fewer")


def already_finished(folder: RunFolder, config: dict[str, Any]) -> bool:
    """Whether the folder has the result of this very configuration, from before its job was requeued.

    Raises:
        ConfigError: it has that of another one.
    """
    if not slurm.was_requeued() or folder.finished_iterations != config["iterations"]:
        return False
    refuse_changes(folder, config, but=tuple(key for key in _CHANGEABLE if key != "evaluation"))
    return True


def _latest() -> RunFolder:
    runs = [run for run in RunFolder.find_all(Path("runs")) if run.config.exists()]
    if not runs:
        raise ConfigError("resume=latest: there is no run in runs/; name its folder")
    return max(runs, key=lambda run: run.config.stat().st_mtime)


def _stored_words(folder: RunFolder) -> list[str]:
    # The first line of config.yaml is the command: `# python -m gmlight.train ...`.
    first = folder.config.read_text().split("\n", 1)[0]
    words = shlex.split(first.lstrip("# "))[3:]
    return [word for word in words if not word.startswith(PUT_IN)]


def _quoted(folder: Path) -> str:
    # As Hydra's grammar wants a path with anything but plain characters.
    path = str(folder)
    return path if all(c.isalnum() or c in "/._-" for c in path) else "'" + path.replace("'", "\\'") + "'"


def _unquoted(word: str) -> str:
    return word[1:-1].replace("\\'", "'") if word.startswith("'") else word
