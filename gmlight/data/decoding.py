"""Decodes the files of a dataset's parts."""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from gmlight.data.folder_listing import FolderFiles
from gmlight.data.names import name_some, printable
from gmlight.data.pictures import PictureForm, read_picture
from gmlight.data.pixel_cache import Decoded, PixelCache
from gmlight.data.splits import check_memory, first_line
from gmlight.errors import ConfigError
from gmlight.runtime.console import new_console, pluralize
from gmlight.runtime.progress import show_progress
from gmlight.runtime.rank import is_main

MOST_UNCACHED = 1000  # files; they are decoded in seconds


def read_parts(
    files: FolderFiles, form: PictureForm, *, skip_unreadable: bool, cache: bool
) -> list[tuple[Tensor, Tensor]]:
    """Reads the pictures among files.

    Args:
        files: of each part.
        form: of the images.
        skip_unreadable: whether to pass over pictures that cannot be read.
        cache: whether to keep the pixels of more than `MOST_UNCACHED` files for later runs.

    Returns:
        Images uint8 [N, channels, H, W] and labels [N] of each part.

    Raises:
        ConfigError: a picture cannot be read, a class has none in a part, or they do not fit into memory.
    """
    _check_every_class([torch.tensor([label for _, label in part]) for part in files.parts], files)
    paths = [path for part in files.parts for path, _ in part]
    check_memory(len(paths), form.channels, *form.size)
    decoded = _decode_once(paths, files.root, form) if cache else _decode(paths, form)
    if decoded.unreadable and not skip_unreadable:
        raise ConfigError(_name_unreadable(files.root, paths, decoded.unreadable))
    read = {*decoded.positions, *decoded.unreadable}
    files.passed_over.add("images that cannot be read", [paths[i] for i in decoded.unreadable])
    files.passed_over.add("files that are no images", [path for i, path in enumerate(paths) if i not in read])
    labels = torch.tensor([label for part in files.parts for _, label in part], dtype=torch.long)
    labels = labels[torch.tensor(decoded.positions, dtype=torch.long)]
    in_train = sum(position < len(files.parts[0]) for position in decoded.positions)
    train, test = ((decoded.images[part], labels[part]) for part in (slice(in_train), slice(in_train, None)))
    splits = [train, test][: len(files.parts)]
    _check_every_class([found for _, found in splits], files)
    return splits


def _check_every_class(labels: Sequence[Tensor], files: FolderFiles) -> None:
    for part, found in zip(("train", "test"), labels, strict=False):
        counts = found.long().bincount(minlength=len(files.classes))
        if not counts.all():
            name = files.classes[int(counts.argmin())]
            where = f"in the {part} part" if labels[1:] else "there"
            line = f"{files.root}: class {name!r} has no images {where}"
            raise ConfigError(f"{line}; remove the class or add images")


def _name_unreadable(root: Path, paths: Sequence[str], reasons: Mapping[int, str]) -> str:
    names = [printable(os.path.relpath(paths[i], root)) for i in reasons]
    shown = [f"{name} ({printable(reason)})" for name, reason in zip(names, reasons.values(), strict=True)]
    what = f"{root}: {pluralize(len(shown), 'image')} cannot be read: {name_some(shown)}"
    return f"{what}; repair or remove what is named, or pass over it by dataset.skip_unreadable=true"


def _decode_once(paths: Sequence[str], root: Path, form: PictureForm) -> Decoded:
    if len(paths) <= MOST_UNCACHED:
        return _decode(paths, form)
    cache = PixelCache(paths, root, form)
    if found := cache.find():
        return found
    decoded = _decode(paths, form)
    if is_main():
        cache.store(decoded)
    return decoded


def _decode(paths: Sequence[str], form: PictureForm) -> Decoded:
    images = torch.empty(len(paths), form.channels, *form.size, dtype=torch.uint8)
    positions: list[int] = []
    unreadable: dict[int, str] = {}
    progress = show_progress("reading images", "file", len(paths), new_console())
    with warnings.catch_warnings(), progress as show:
        warnings.simplefilter("ignore")  # Pillow's, about what it reads all the same
        for i, path in enumerate(paths):
            show(i)
            try:
                pixels = read_picture(path, form)
            except Exception as error:  # whatever a decoder raises
                unreadable[i] = first_line(error)
                continue
            if pixels is not None:
                images[len(positions)] = pixels
                positions.append(i)
    return Decoded(images[: len(positions)], positions, unreadable)
