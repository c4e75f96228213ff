"""Loads image classification datasets of Hugging Face: from the hub, or from a local folder."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gmlight.data.class_choice import choose_names
from gmlight.data.inputs import IMAGE_COLUMNS, LABEL_COLUMNS, find_column
from gmlight.data.pictures import PictureForm, picture_pixels
from gmlight.data.splits import NotedSplits, first_line, stratified
from gmlight.errors import ConfigError
from gmlight.runtime.answers import answers

_TEST_SPLITS = ("test", "validation", "valid", "val", "dev")
_SAVED = ("dataset_dict.json", "state.json")  # in a folder of save_to_disk


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
    found = _Found(_load(root, download, place), place)
    names = choose_names(found.classes, classes, Path(str(root)))
    form = PictureForm((size[0], size[1]), channels, fit, background)
    notes = (f"read {', '.join(found.used)} of {root}, columns {found.image} and {found.label}",)
    splits = [_read(found, part, names, form) for part in found.used]
    if len(splits) == 2:
        return splits[0], splits[1], notes
    return *stratified(*splits[0], test_share, split_seed, names), notes


@answers(chooses_classes=True)
def huggingface_classes(
    root: str | None, *, download: bool, classes: Sequence[object] | None = None, **place: str | None
) -> list[str]:
    """Returns the class names of `huggingface`, whose arguments these are."""
    found = _Found(_load(root, download, place), place)
    return choose_names(found.classes, classes, Path(str(root)))


def _load(path: str | None, download: bool, place: Mapping[str, str | None]) -> Mapping[str, Any]:
    # Returns the splits by name. No code of a dataset is run: the library refuses datasets with scripts.
    if not path:
        raise ConfigError("dataset.path: name a dataset of the hub, such as ylecun/mnist, or a local folder")
    try:
        import datasets
    except ModuleNotFoundError:
        raise ConfigError(
            "dataset=huggingface: datasets is not installed; pip install 'gmlight[hf]'"
        ) from None
    datasets.disable_progress_bars()
    folder = Path(path).expanduser()
    if not folder.is_dir() and (folder.is_absolute() or path.startswith(".") or path.count("/") > 1):
        raise ConfigError(f"dataset.path={path}: no such folder")
    try:
        if any((folder / name).is_file() for name in _SAVED):
            loaded = datasets.load_from_disk(str(folder))
        elif folder.is_dir():
            loaded = datasets.load_dataset(str(folder.resolve()), place["subset"])
        else:
            with _offline(not download):
                loaded = datasets.load_dataset(path, place["subset"], revision=place["revision"])
    except Exception as error:  # the library raises many types
        mend = "" if folder.is_dir() or download else "; with download=true the hub is asked"
        raise ConfigError(f"dataset.path={path}: cannot be loaded ({first_line(error)}){mend}") from None
    return loaded if isinstance(loaded, Mapping) else {"train": loaded}


@contextmanager
def _offline(yes: bool) -> Iterator[None]:
    # The library reads its environment variable when it is imported.
    import datasets
    import huggingface_hub

    places: list[Any] = [datasets.config, huggingface_hub.constants]
    before = [place.HF_HUB_OFFLINE for place in places]
    try:
        for place in places:
            place.HF_HUB_OFFLINE = place.HF_HUB_OFFLINE or yes
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = value


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
        named = getattr(features[self.label], "names", None)
        self.numbered = named is not None
        values = named or sorted({value for part in self.used for value in splits[part][self.label]})
        self.classes = [str(value) for value in values]


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


def _read(found: _Found, part: str, names: Sequence[str], form: PictureForm) -> tuple[Tensor, Tensor]:
    # Images uint8 [N, channels, H, W] and labels [N] of the chosen classes.
    split = found.splits[part]
    labels = {name: label for label, name in enumerate(names)}
    images, chosen = list[Tensor](), list[int]()
    for row, value in enumerate(split[found.label]):
        if value is None or (found.numbered and not 0 <= value < len(found.classes)):
            raise ConfigError(f"dataset.path: row {row} of {part} has no label ({value}); remove it")
        label = labels.get(found.classes[value] if found.numbered else str(value))
        if label is None:
            continue
        try:
            images.append(picture_pixels(split[row][found.image], form))
        except Exception as error:  # Pillow raises many types
            line = f"row {row} of {part} has no readable image ({first_line(error)}); remove it"
            raise ConfigError(f"dataset.path: {line}") from None
        chosen.append(label)
    if not images:
        raise ConfigError(f"dataset.path: {part} has no image of the chosen classes")
    return torch.stack(images), torch.tensor(chosen)
