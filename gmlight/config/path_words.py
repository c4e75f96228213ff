"""Prepares words of a command line that name files, folders or classes, before Hydra reads them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from gmlight.artifacts.hub_names import is_hub_name
from gmlight.artifacts.run_folder import RunFolder
from gmlight.config.overrides import override_key, parse_override, quote_if_needed, quoted, unquoted
from gmlight.errors import ConfigError

_INPUTS = ("data_dir", "dataset.root", "initialization.path")
_STORED = ("run", *_INPUTS)  # kept in files, hence made absolute
_OR_A_NAME = "dataset.path"  # a folder, or a name on Hugging Face's hub
_KEYS = (*_STORED, _OR_A_NAME, "cache", "from", "resume", "to", "json", "hydra.run.dir", "hydra.sweep.dir")
_RUNS = ("run", "resume")
_CLASSES = "dataset.classes"
_QUOTES = "'\""
_NAME = r"""'[^']*'|"[^"]*"|[^,'"]+"""  # in a list
_LIST = r"""\[((?:'[^']*'|"[^"]*"|[^'"\[\]\\])*)\]"""
LATEST = "latest"


def prepare_paths(words: list[str]) -> list[str]:
    """Rewrites words such as `dataset.root=~/my photos (1)` for Hydra: expanded, and quoted where necessary.

    An existing folder is taken as it is typed, without quotes. Otherwise Hydra's grammar holds: quotes
    enclose a name, `${key}` is resolved, and in a sweep a comma separates folders. Names of classes in
    `dataset.classes=[...]` stay text, even if they look like numbers.

    Args:
        words: of the command line.

    Returns:
        The words; paths that are stored are absolute, and `run` and `resume` name the run folder. A set on
        the hub keeps its name, `hf://user/name`.

    Raises:
        ConfigError: `run=latest` or `resume=latest`, and there is no such run.
    """
    sweeps = "-m" in words or "--multirun" in words
    return [_for_hydra(word, sweeps) for word in words]


def _for_hydra(word: str, sweeps: bool) -> str:
    key = override_key(word)
    if key == _CLASSES:
        return _with_quoted_names(word)
    return _prepared(word, sweeps) if key in _KEYS else word


def _with_quoted_names(word: str) -> str:
    # Hydra would read the name 1.10 as 1.1, and 1_0 as 10.
    def quote_all(found: re.Match[str]) -> str:
        names = filter(None, map(str.strip, re.findall(_NAME, found[1])))
        return f"[{','.join(name if name[0] in _QUOTES else quoted(name) for name in names)}]"

    return word if "$" in word else re.sub(_LIST, quote_all, word)


def check_named(words: Sequence[str], needed: Mapping[str, str]) -> None:
    """Checks that each needed key is among the words, unless none is needed, as for `--help`.

    Args:
        words: of the command line.
        needed: what each key names.

    Raises:
        ConfigError: a key is missing.
    """
    given = {word.partition("=")[0] for word in words if word.partition("=")[2] not in ("", "null")}
    for key, what in needed.items():
        if key not in given and not any(word.startswith("-") for word in words):
            raise ConfigError(f"name {what}: {key}=...")


def with_runs_as_list(words: Sequence[str]) -> list[str]:
    """Writes `runs=a,b` and `runs=[a,b]` as a quoted list for Hydra; paths become absolute.

    Args:
        words: of the command line; paths in `runs=` have no commas.
    """
    return [
        f"runs=[{','.join(map(_quoted_run, word.partition('=')[2].strip('[]').split(',')))}]"
        if word.startswith("runs=")
        else word
        for word in words
    ]


def _quoted_run(text: str) -> str:
    name = text.strip().strip(_QUOTES)
    return quoted(name if is_hub_name(name) else str(find_run(_expanded(name)).absolute()))


def path_of(word: str) -> Path:
    """Returns the path that a prepared word names."""
    return Path(typed_text(word))


def typed_text(word: str) -> str:
    """Returns the value of a word, without quotes."""
    return _typed(word.partition("=")[2])


def find_run(path: Path) -> Path:
    """Finds the run that a path names: its folder, config.yaml, `condensed` folder, or a checkpoint.

    Returns:
        The run folder; the path itself if it is not in a run.
    """
    if path.name == RunFolder(path.parent).config.name and path.is_file():
        return path.parent
    if path == RunFolder(path.parent).condensed and RunFolder(path.parent).config.is_file():
        return path.parent
    run = RunFolder.of_checkpoint(path)
    return run.path if path.parent == run.checkpoints and run.config.is_file() else path


def _prepared(word: str, sweeps: bool) -> str:
    name, equals, value = word.partition("=")
    if not equals or value in ("", "null"):
        return word
    key, parsed, text = override_key(word), parse_override(word), unquoted(value)
    if _exists(value):
        text = value
    elif sweeps and parsed is not None and parsed.is_choice_sweep():
        choices = [_typed(choice) for choice in parsed.sweep_string_iterator()]
        return f"{name}={','.join(_prepared_value(choice, key) for choice in choices)}"
    elif text is None and parsed is not None and "${" in value:
        return f"{name}={_expanded(value)}"
    return f"{name}={_prepared_value(value if text is None else text, key)}"


def _prepared_value(text: str, key: str) -> str:
    if key == _OR_A_NAME:
        return quote_if_needed(str(_expanded(text).absolute()) if _exists(text) else text)
    if key == "run" and is_hub_name(text):
        return quote_if_needed(text)
    path = _resolved(text, key)
    if "${" in str(path) and key not in _INPUTS:  # Hydra would resolve it in the path of the run folder
        raise ConfigError(f"{key}={path}: the path of a run folder may not contain ${{; choose another")
    return quote_if_needed(str(path))


def _resolved(value: str, key: str) -> Path:
    if value == LATEST and key in _RUNS:
        path = _latest(key)
    else:
        path = find_run(_expanded(value)) if key in _RUNS else _expanded(value)
    return path.absolute() if key in _STORED else path


def _typed(value: str) -> str:
    text = unquoted(value)
    return value if text is None else text


def _exists(value: str) -> bool:
    try:
        return _expanded(value).exists()
    except (OSError, ValueError):  # too long for a name
        return False


def _expanded(value: str) -> Path:
    try:
        return Path(value).expanduser()
    except RuntimeError:  # no such user
        return Path(value)


def _latest(key: str) -> Path:
    runs = RunFolder.find_all(Path("runs"))
    if key == "run":
        found = {run.result: run for run in runs if run.result.is_file() and run.condensed.is_dir()}
        what = "finished run with a condensed set"
    else:  # the steps of continual learning are runs inside its folder
        begun = {run.path for run in runs if run.config.is_file()}
        found = {run.config: run for run in runs if run.path in begun and not begun & {*run.path.parents}}
        what = "run"
    if not found:
        raise ConfigError(f"{key}={LATEST}: there is no {what} in runs/; name its folder")
    return found[max(found, key=lambda path: path.stat().st_mtime)].path
