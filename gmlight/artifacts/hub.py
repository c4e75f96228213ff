"""Condensed sets on Hugging Face's hub: downloads a set by its name, uploads an export with its set."""

import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gmlight
from gmlight.artifacts.hub_names import parse_hub_name
from gmlight.artifacts.run_folder import RunFolder
from gmlight.artifacts.set_files import (
    GRID,
    LARGEST_METADATA,
    LARGEST_TENSORS,
    METADATA,
    TENSORS,
    move_into_place,
)
from gmlight.data.splits import first_line
from gmlight.errors import ConfigError
from gmlight.runtime.atomic import partial_path
from gmlight.runtime.console import format_bytes

KEPT = Path("runs") / "hub"
# The files of a set, and the bytes that each may have; no others are downloaded.
_FILES = {METADATA: LARGEST_METADATA, TENSORS: LARGEST_TENSORS, GRID: 2**28}
_MADE_BY_THE_HUB = {".gitattributes"}


def download(name: str, *, ask: bool = True) -> Path:
    """Downloads a set into the library's cache.

    Args:
        name: `hf://user/name` or `hf://user/name@revision`.
        ask: whether the hub may be asked; otherwise only the cache is used.

    Returns:
        The folder of its files in the cache; the files are still to be checked like those of any stranger.

    Raises:
        ConfigError: the name has another form, or the repository cannot be reached, or is no set.
    """
    repository, revision = parse_hub_name(name)
    library = _library(name)
    try:
        first = _fetch(library, repository, METADATA, revision, ask)
        commit = first.parent.name  # all files are of one commit
        _fetch(library, repository, TENSORS, commit, ask)
        with suppress(library.errors.EntryNotFoundError):  # the picture is for readers
            _fetch(library, repository, GRID, commit, ask)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None
    except Exception as error:  # the library raises many types
        raise ConfigError(f"{name}: cannot be downloaded ({_explain(library, error, ask)})") from None
    return first.parent


def keep(path: Path) -> Path:
    """Copies a set from the library's cache into `runs/hub`, where results of commands on it may be written.

    Args:
        path: folder of a set.

    Returns:
        The folder to use as a run folder: the copy, or the path itself if it is not in the cache.
    """
    repository = path.parent.parent.name
    if path.parent.name != "snapshots" or not repository.startswith("datasets--"):
        return path
    run = RunFolder((KEPT / repository.removeprefix("datasets--") / path.name[:12]).absolute())
    if not (run.condensed / METADATA).exists():
        beside = partial_path(run.condensed)
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        for name in filter(lambda name: (path / name).exists(), _FILES):
            shutil.copyfile(path / name, beside / name)
        move_into_place(beside, run.condensed, replace=False)
    return run.path


@dataclass(frozen=True)
class Target:
    """A repository to upload to.

    Args:
        name: `user/name`.
        private: whether only its owner may read it.
        commit: its newest commit; None: it does not exist yet.
    """

    name: str
    private: bool
    commit: str | None


def find_target(name: str, *, private: bool, update: bool) -> Target:
    """Looks at the repository of datasets that an export shall be uploaded to; changes nothing.

    Args:
        name: `user/name`.
        private: whether it shall be private.
        update: whether it may have files, which get a new commit.

    Raises:
        ConfigError: it has files, or is public, or the hub cannot be reached.
    """
    library = _library(f"push={name}")
    if library.get_token() is None:
        raise ConfigError(f"push={name}: log in to the hub first, by `hf auth login` or HF_TOKEN")
    try:
        info = library.HfApi().dataset_info(name)
    except library.errors.RepositoryNotFoundError:
        return Target(name, private, None)
    except Exception as error:
        raise ConfigError(f"push={name}: {_explain(library, error)}") from None
    files = {file.rfilename for file in info.siblings or []} - _MADE_BY_THE_HUB
    if files and not update:
        raise ConfigError(
            f"push={name}: has {len(files)} files already; choose another name, or add a commit to it by "
            "push_update=true"
        )
    if private and not info.private:
        raise ConfigError(f"push={name}: is public; use push_private=false if the set may be public, too")
    return Target(name, bool(info.private), info.sha)


def push(target: Target, files: Mapping[str, Path]) -> dict[str, Any]:
    """Uploads files in one commit, after making the repository if it does not exist.

    Args:
        target: where to; nothing is uploaded if it has changed since.
        files: by their paths in the repository.

    Returns:
        The repository, the commit, its address, and whether it is private.

    Raises:
        ConfigError: the hub refuses it or cannot be reached.
    """
    library = _library(f"push={target.name}")
    api, commit = library.HfApi(), target.commit
    try:
        if commit is None:
            api.create_repo(target.name, repo_type="dataset", private=target.private)
            commit = api.dataset_info(target.name).sha
        with _no_bars(library):
            made = api.create_commit(
                target.name,
                [library.CommitOperationAdd(path, file) for path, file in sorted(files.items())],
                commit_message=f"Condensed set, gmlight {gmlight.__version__}",
                repo_type="dataset",
                parent_commit=commit,
            )
    except Exception as error:
        raise ConfigError(f"push={target.name}: {_explain(library, error)}") from None
    return {
        "repository": target.name,
        "commit": made.oid,
        "address": f"{api.endpoint}/datasets/{target.name}",
        "private": target.private,
    }


def _library(what: str) -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
        import huggingface_hub.utils
    except ModuleNotFoundError:
        raise ConfigError(f"{what}: huggingface_hub is not installed; pip install 'gmlight[hf]'") from None
    return huggingface_hub


@contextmanager
def _no_bars(library: Any) -> Iterator[None]:
    # In a log, the library's bars fill a line for each step.
    tools = library.utils
    hides = not sys.stderr.isatty() and not tools.are_progress_bars_disabled()
    if hides:
        tools.disable_progress_bars()
    try:
        yield
    finally:
        if hides:
            tools.enable_progress_bars()


def _fetch(library: Any, repository: str, file: str, revision: str | None, ask: bool) -> Path:
    if ask and not library.constants.HF_HUB_OFFLINE:
        address = library.hf_hub_url(repository, file, repo_type="dataset", revision=revision)
        try:
            size = library.get_hf_file_metadata(address).size or 0
        except library.errors.EntryNotFoundError:
            raise
        except Exception:
            size = 0  # the cache may have it; otherwise this is reported below
        if size > _FILES[file]:
            raise ConfigError(f"its {file} has {format_bytes(size)}; at most {format_bytes(_FILES[file])}")
    with _no_bars(library):
        path = library.hf_hub_download(
            repository, file, repo_type="dataset", revision=revision, local_files_only=not ask
        )
    return Path(path)


def _explain(library: Any, error: Exception, ask: bool = True) -> str:
    # Says in one line what happened and what to do.
    status = getattr(getattr(error, "response", None), "status_code", None)
    errors = library.errors
    if isinstance(error, errors.LocalEntryNotFoundError):
        return "the hub cannot be reached, and it is not in the cache" if ask else "it is not in the cache"
    if isinstance(error, errors.RevisionNotFoundError):
        return "there is no such revision"
    if isinstance(error, errors.EntryNotFoundError):
        return "the repository has no condensed set at its top; name one that gmlight.export pushed"
    if isinstance(error, errors.RepositoryNotFoundError) or status in (401, 403):
        return (
            "it is absent, or you have no access; check the name, and log in by `hf auth login` or HF_TOKEN"
        )
    if status == 412:
        return "it has changed meanwhile; export again"
    line = first_line(error)
    return (
        line if status is not None or isinstance(error, ValueError) else f"the hub cannot be reached: {line}"
    )
