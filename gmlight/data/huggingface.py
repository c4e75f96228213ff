"""Loads image classification datasets of Hugging Face: from the hub, or from a local folder."""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gmlight.data.class_choice import choose_names
from gmlight.data.hub_datasets import load_splits, picture_folders, undecoded
from gmlight.data.inputs import IMAGE_COLUMNS, LABEL_COLUMNS, find_column
from gmlight.data.pictures import PictureForm, decode_picture, read_picture
from gmlight.data.splits import NotedSplits, check_memory, first_line, stratified
from gmlight.errors import ConfigError
from gmlight.runtime.answers import answers
from gmlight.runtime.console import new_console
from gmlight.runtime.progress import show_progress

_TEST_SPLITS = ("test", "validation", "valid", "val", "dev")


@answers(chooses_classes=True)
def huggingface(
    root: str | None,
    download: bool,
    *,
    size: Sequence[int],
    channels: int,
    fit: str,
    background: str,
    test_share: float,
    split_seed: int,
    classes: Sequence[object] | None = None,
    **place: str | None,
) -> NotedSplits:
    """Reads a dataset with an image column and a label column.

    Args:
        root: name of a dataset of the hub, or a local folder.
        download: whether the hub may be asked.
        size: [H, W] of every image.
        channels: 1 (grey) or 3 (colour), to which every image is converted.
        fit: how an image gets the size: `squash`, `crop` or `pad`.
        background: colour under transparent pixels and of the padding.
        test_share: share of each class's images in the test split, if there is no test split.
        split_seed: seed of that split.
        classes: classes to read, in the order of the labels; None: all.
        place: subset, revision, image, label, train and test; None: found.

    Returns:
        Train and test split, and a line about what was found.

    Raises:
        ConfigError: the dataset cannot be loaded, its columns or splits are not clear, or an image cannot be
            read.
    """
    found = _Found(load_splits(root, download, place), place)
    names = choose_names(found.classes, classes, Path(str(root)))
    form = PictureForm((size[0], size[1]), channels, fit, background)
    notes = (f"read {', '.join(found.used)} of {root}, columns {found.image} and {found.label}",)
    splits = [_read(found, part, names, form, picture_folders(root)) for part in found.used]
    if len(splits) == 2:
        return splits[0], splits[1], notes
    return *stratified(*splits[0], test_share, split_seed, names), notes


@answers(chooses_classes=True)
def huggingface_classes(
    root: str | None, *, download: bool, classes: Sequence[object] | None = None, **place: str | None
) -> list[str]:
    """Returns the class names of `huggingface`, whose arguments these are."""
    found = _Found(load_splits(root, download, place), place)
    return choose_names(found.classes, classes, Path(str(root)))


class _Found:
    """Splits, columns and classes of a dataset.

    Args:
        splits: by name.
        place: the user's choices: image, label, train, test; None: found.

    Raises:
        ConfigError: something named is absent, or nothing or several things are found.
    """

    def __init__(self, splits: Mapping[str, Any], place: Mapping[str, str | None]) -> None:
        self.splits = splits
        train = _split(splits, place["train"], "train", ("train",)) or _only(splits)
        test = _split(splits, place["test"], "test", _TEST_SPLITS)
        self.used = [train] if test in (None, train) else [train, str(test)]
        features = splits[train].features
        kinds = {name: type(feature).__name__ for name, feature in features.items()}
        self.image = _column(kinds, place["image"], "image", "Image", IMAGE_COLUMNS)
        self.label = _column(kinds, place["label"], "label", "ClassLabel", LABEL_COLUMNS)
        if kinds[self.image] != "Image":
            kind = kinds[self.image]
            raise ConfigError(f"dataset.image={self.image}: is a column of {kind}, not of images")
        kind = str(getattr(features[self.label], "dtype", kinds[self.label]))
        if not kind.startswith(("int", "uint", "string", "large_string", "bool")):
            raise ConfigError(f"dataset.label={self.label}: is a column of {kind}, not of numbers or names")
        self._check_test(features)
        named = _names(features[self.label])
        self.numbered = named is not None
        values = named or sorted({value for part in self.used for value in splits[part][self.label]} - {None})
        self.classes = [str(value) for value in values]

    def _check_test(self, features: Mapping[str, Any]) -> None:
        # Splits that were saved one by one may differ.
        for part in self.used[1:]:
            others = self.splits[part].features
            for key, column in (("image", self.image), ("label", self.label)):
                same = type(others.get(column)) is type(features[column])
                if not same or _names(others[column]) != _names(features[column]):
                    line = f"{part} has no such column, or other classes than {self.used[0]}"
                    raise ConfigError(
                        f"dataset.{key}={column}: {line}; choose another split by dataset.test="
                    )


def _names(feature: Any) -> Sequence[str] | None:
    return getattr(feature, "names", None)


def _split(splits: Mapping[str, Any], chosen: str | None, key: str, names: Sequence[str]) -> str | None:
    if chosen is not None and chosen not in splits:
        raise ConfigError(f"dataset.{key}={chosen}: no such split; there are {', '.join(splits)}")
    return chosen or next((name for name in names if name in splits), None)


def _only(splits: Mapping[str, Any]) -> str:
    if len(splits) != 1:
        raise ConfigError(f"dataset.train: cannot tell which split it is; name one of {', '.join(splits)}")
    return next(iter(splits))


def _column(kinds: Mapping[str, str], chosen: str | None, key: str, kind: str, names: Sequence[str]) -> str:
    column = chosen or find_column(kinds, kind, names)
    if column in kinds:
        return str(column)
    reason = "cannot tell which column it is" if column is None else f"there is no column {column!r}"
    raise ConfigError(f"dataset.{key}: {reason}; name one of {', '.join(kinds)}")


def _read(
    found: _Found, part: str, names: Sequence[str], form: PictureForm, folders: Sequence[str]
) -> tuple[Tensor, Tensor]:
    # Images uint8 [N, channels, H, W] and labels [N] of the chosen classes.
    rows, labels = _choose_rows(found, part, names)
    if not rows:
        raise ConfigError(f"dataset.path: {part} has no image of the chosen classes")
    check_memory(len(rows), form.channels, *form.size)
    images = torch.empty(len(rows), form.channels, *form.size, dtype=torch.uint8)
    column = undecoded(found.splits[part], found.image)
    progress = show_progress("reading images", "image", len(rows), new_console())
    with warnings.catch_warnings(), progress as show:
        warnings.simplefilter("ignore")  # Pillow's, about what it reads all the same
        for i, row in enumerate(rows):
            show(i)
            try:
                images[i] = _decode(column[row][found.image], form, folders)
            except Exception as error:  # whatever a decoder raises
                line = f"row {row} of {part} has no readable image ({first_line(error)}); remove it"
                raise ConfigError(f"dataset.path: {line}") from None
    return images, torch.tensor(labels)


def _choose_rows(found: _Found, part: str, names: Sequence[str]) -> tuple[list[int], list[int]]:
    # Rows of the chosen classes, and their labels.
    known = {name: label for label, name in enumerate(names)}
    rows, labels = list[int](), list[int]()
    for row, value in enumerate(found.splits[part][found.label]):
        if value is None or (found.numbered and not 0 <= value < len(found.classes)):
            line = f"row {row} of {part} has no label ({value})"
            raise ConfigError(f"dataset.path: {line}; remove it, or choose another split")
        label = known.get(found.classes[value] if found.numbered else str(value))
        if label is not None:
            rows.append(row)
            labels.append(label)
    return rows, labels


def _decode(cell: Mapping[str, Any] | None, form: PictureForm, folders: Sequence[str]) -> Tensor:
    if cell is None:
        raise OSError("empty")
    if cell["bytes"] is not None:
        return decode_picture(cell["bytes"], form)
    path = os.path.abspath(cell["path"])
    if "://" in cell["path"] or not path.startswith(tuple(f"{folder}{os.sep}" for folder in folders)):
        raise OSError(f"it is elsewhere, at {cell['path']}")
    picture = read_picture(path, form)
    if picture is None:
        raise OSError("no picture")
    return picture
