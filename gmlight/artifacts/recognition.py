"""Recognises how a condensed set of another program is laid out."""

from collections.abc import Mapping
from pathlib import Path

from gmlight.artifacts.foreign_files import load_torch
from gmlight.artifacts.foreign_set import ForeignSet
from gmlight.artifacts.layouts import (
    LAYOUTS,
    MTT_IMAGES,
    TORCH,
    idc,
    mtt,
    npz,
    pt,
    read_entries,
    read_experiment,
    read_pair,
)
from gmlight.artifacts.picture_layouts import TABLES, huggingface, png, tables
from gmlight.artifacts.run_folder import RunFolder
from gmlight.artifacts.set_files import METADATA
from gmlight.data.names import name_some, printable
from gmlight.errors import ConfigError


def auto(path: Path, *, experiment: int) -> ForeignSet:
    """Recognises the layout by the names and the content of the files.

    Args:
        path: a file or folder.
        experiment: of a DC file, from 0.

    Raises:
        ConfigError: no layout is recognised, or the files cannot be read.
    """
    found = _of_folder(path, experiment) if path.is_dir() else _of_file(path, experiment)
    if experiment and found.layout != "dc":
        raise ConfigError(f"layout.experiment={experiment}: {found.layout} has no experiments; leave it out")
    return found


def _of_folder(folder: Path, experiment: int) -> ForeignSet:
    if any((inner / METADATA).exists() for inner in (folder, RunFolder(folder).condensed)):
        raise ConfigError(f"{folder}: is a set of gmlight already; use it with run=")
    if (folder / MTT_IMAGES).exists():
        return mtt(folder)
    for name, read in (("condensed.npz", npz), ("condensed.pt", pt), ("data.pt", idc)):
        if (folder / name).exists():
            return read(folder)
    if tables(folder):
        return huggingface(folder)
    single = [path for path in folder.iterdir() if path.suffix in TORCH]
    if len(single) == 1:
        return _of_file(single[0], experiment)
    if any(path.is_dir() for path in folder.iterdir()):
        return png(folder)
    names = name_some([printable(path.name) for path in sorted(folder.iterdir())]) or "nothing"
    raise ConfigError(f"{folder}: no layout is recognised in {names}; name one of {LAYOUTS} by layout=")


def _of_file(path: Path, experiment: int) -> ForeignSet:
    if path.name == MTT_IMAGES:
        return mtt(path.parent)
    if path.suffix == ".npz":
        return npz(path)
    if path.suffix in TABLES:
        return huggingface(path)
    content = load_torch(path)
    if not isinstance(content, Mapping):
        return read_pair(content, path)
    return (
        read_experiment(content, path, experiment) if "data" in content else read_entries(content, path, "pt")
    )
