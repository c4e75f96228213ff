"""Explains errors that a user can fix, each in one line with the fix."""

import errno
import os
import re
import traceback

import yaml
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from gmlight.config.overrides import override_key, parse_override
from gmlight.config.spelling import did_you_mean, explain_unknown_key
from gmlight.config.trainer_keys import REFUSED
from gmlight.runtime.paths import CONF_DIR

_SEVERAL = ("callbacks", "logger")  # groups that take a list of options
_CANNOT_WRITE = (
    errno.EACCES, errno.EDQUOT, errno.EEXIST, errno.EFBIG, errno.ENOSPC, errno.ENOTDIR, errno.EPERM,
    errno.EROFS,
)  # fmt: skip


def explain_invalid_choice(words: list[str]) -> str | None:
    """Explains a choice whose value is a number, a list or a dictionary; Hydra's own error is unclear.

    Args:
        words: of the command line.

    Returns:
        One line that lists the options; None if every choice is a name.
    """
    groups = {path.name for path in CONF_DIR.iterdir() if path.is_dir()}
    for word in words:
        key = override_key(word)
        if key not in groups or "=" not in word:
            continue
        parsed = parse_override(word)
        if parsed is None:  # Hydra reports it
            continue
        value = parsed.value()
        names = value if isinstance(value, list) else [value]
        if isinstance(value, list) and key not in _SEVERAL and all(isinstance(name, str) for name in value):
            first = value[0] if value else "<option>"
            return f"{word}: takes one option; use {key}={first}, or a sweep: -m {key}=<one>,<another>"
        if any(name is None or isinstance(name, int | float | list | dict) for name in names):
            options = sorted(path.stem for path in (CONF_DIR / key).glob("*.yaml"))
            return f"{word}: no option of {key}; use one of {', '.join(options)}"
    return None


def explain_torchrun(words: list[str]) -> str | None:
    """Explains why torchrun's processes cannot share a run folder: each would name it by its own time.

    Args:
        words: of the command line.

    Returns:
        One line; None without torchrun, or if the folder is named.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1" or "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    if "-m" in words or "--multirun" in words:
        return "torchrun: one run has several processes, not a sweep; leave out --multirun"
    if any(word.startswith("hydra.run.dir=") for word in words):
        return None
    return "torchrun: its processes need one run folder; name a new one with hydra.run.dir="


def explain_error(error: Exception) -> str | None:
    """Explains an error that a user can fix in one line; returns None for any other error."""
    # The plugin of the chosen launcher or sweeper is not installed.
    for plugin, package, extra in (
        ("launcher/joblib", "hydra_joblib_launcher", "sweep"),
        ("launcher/submitit", "hydra_submitit_launcher", "sweep"),
        ("sweeper/optuna", "hydra_optuna_sweeper", "optuna"),
    ):
        if f"hydra/{plugin}" in str(error) or f"'hydra_plugins.{package}" in str(error):
            return f"Hydra's {plugin} is not installed; pip install 'gmlight[{extra}]'"
    if type(error).__module__.split(".")[0] in ("joblib", "submitit"):
        how = "resume a started run with resume=<its folder>"
        return f"the sweep has ended: {_shortened(error)}; {how}"
    if isinstance(error, RuntimeError) and 'Could not detect "srun"' in str(error):  # submitit's
        return "hydra/launcher=submitit_slurm: there is no Slurm here; use hydra/launcher=joblib"
    if isinstance(error, ValueError) and "Unavailable parameter" in str(error):  # submitit's
        return f"hydra.launcher: {_shortened(error)}"
    unknown = re.match(r"Could not override 'trainer\.(\w+)'", str(error))
    if unknown and unknown[1] in REFUSED:  # Hydra would suggest to add the key
        return f"trainer.{unknown[1]}: {REFUSED[unknown[1]][1]}"
    if isinstance(error, yaml.YAMLError):  # its text names file and line
        return f"not a yaml file: {_shortened(error)}"
    if "full_key: hydra.runtime.output_dir" in str(error):  # Hydra resolves the path
        return "the path of a run folder may not contain ${; rename the folder, or choose another"
    if line := _explain_composition(str(error)):
        return line
    if isinstance(error, HydraException | OmegaConfBaseException):
        cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else ""
        return " ".join(f"{error} {cause}".split("Config search path")[0].split())
    # A trainer setting, or a callback from the command line, does not work here.
    if type(error).__name__ == "MisconfigurationException":  # Lightning's class; importing Lightning is slow
        return f"Lightning refuses the trainer or a callback: {_shortened(error)}"
    if isinstance(error, ModuleNotFoundError) and "pip install" in str(error):
        return _shortened(error)
    if isinstance(error, OSError) and (error.errno in _CANNOT_WRITE or _came_from_mkdir(error)):
        mend = "choose another folder (a run's: hydra.run.dir=)"
        return f"cannot write {error.filename or 'a file'}: {error.strerror}; {mend}"
    if isinstance(error, ValueError) and "No trials are completed" in str(error):  # Optuna's
        return "no run of the search has finished"
    return None


def _came_from_mkdir(error: OSError) -> bool:
    # In /proc, a folder that cannot be made is said not to exist.
    return "mkdir" in {frame.name for frame in traceback.extract_tb(error.__traceback__)}


def _explain_composition(message: str) -> str | None:
    # Hydra lists its search path for an unknown option, and advises to add an unknown key.
    if found := re.search(r"Could not find '(?:[\w./-]*/)?([\w-]+)/([\w.-]+)'\n\nAvailable options", message):
        group, option = found[1], found[2]
        options = re.findall(r"^\t(\S+)", message.split("Config search path")[0], re.MULTILINE)
        hint = did_you_mean(option, options)
        return f"{group}={option}: no such option{hint or ';'} use one of {', '.join(options)}"
    if found := re.match(r"Error merging override (\S+)", message):
        return f"{found[1]}: a value of another kind is needed; --cfg job shows the present one"
    if found := re.match(r"Could not override '([\w./@-]+)'", message):
        return explain_unknown_key(found[1])
    return None


def _shortened(error: Exception) -> str:
    words = " ".join(str(error).split())
    return words if len(words) <= 300 else f"{words[:300]} ..."
