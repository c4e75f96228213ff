"""Conversion of images and labels from a Python program to one split of a dataset.

Accepted forms: a map-style dataset of (image, label), a pair (images, labels) of tensors or arrays, and a
Hugging Face dataset.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gmlight.data.names import name_some
from gmlight.data.pixels import picture_to_pixels, shape_name, to_label, to_labels, to_pixels
from gmlight.errors import ConfigError

IMAGE_COLUMNS = ("image", "img", "images", "picture", "pixel_values")
LABEL_COLUMNS = ("label", "labels", "fine_label", "target", "class")
_FORMS = (
    "a dataset's name, a torch Dataset of (image, label), a pair (images, labels) of tensors or arrays, or a "
    "Hugging Face dataset"
)


@dataclass(frozen=True)
class Columns:
    """Column names of a Hugging Face dataset; None: found by type and usual names.

    Args:
        image: column of the images.
        label: column of the labels.
    """

    image: str | None = None
    label: str | None = None


@dataclass(frozen=True)
class Split:
    """Images and labels of one split.

    Args:
        images: uint8 [N, channels, H, W].
        labels: int64 [N].
        classes: class names by label; None if the data has none.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...] | None


def read_split(data: Any, name: str, columns: Columns) -> Split:
    """Converts data to a split.

    Args:
        data: in one of the accepted forms.
        name: `train` or `test`, for messages.
        columns: column names of a Hugging Face dataset.

    Raises:
        ConfigError: the data has another form, or its images or labels cannot be used.
    """
    if isinstance(data, Mapping) and not hasattr(data, "features"):
        raise ConfigError(f"{name}: has the splits {', '.join(map(str, data))}; give one, {name}=data[...]")
    if not hasattr(data, "__len__"):
        raise ConfigError(f"{name}: {type(data).__name__} has no length; give {_FORMS}")
    if len(data) == 2 and (isinstance(data, tuple) or (isinstance(data, list) and hasattr(data[0], "ndim"))):
        images, labels = to_pixels(data[0], name), to_labels(data[1], name)
        classes = None
    elif hasattr(data, "features") and hasattr(data, "column_names"):
        data, classes = _select_columns(data, name, columns)
        images, labels = _stack(data, name)
    elif hasattr(data, "__getitem__") and not hasattr(data, "ndim"):
        images, labels = _stack(data, name)
        classes = _class_names(data)
    else:
        raise ConfigError(f"{name}: {type(data).__name__} cannot be read; give {_FORMS}")
    if len(images) != len(labels):
        raise ConfigError(f"{name}: {len(images)} images and {len(labels)} labels; give one label per image")
    if not len(images):
        raise ConfigError(f"{name}: is empty; give at least two images of each class")
    return Split(images, labels, _checked_names(classes, name))


def _select_columns(data: Any, name: str, columns: Columns) -> tuple["_Columns", Sequence[str] | None]:
    # Returns a Hugging Face dataset as (image, label), and its class names.
    kinds = {column: type(feature).__name__ for column, feature in data.features.items()}
    image = columns.image or find_column(kinds, "Image", IMAGE_COLUMNS)
    label = columns.label or find_column(kinds, "ClassLabel", LABEL_COLUMNS)
    for key, column in (("image_column", image), ("label_column", label)):
        if column not in kinds:
            reason = "cannot tell which column it is" if column is None else f"there is no column {column!r}"
            raise ConfigError(f"{name}: {reason}; name it by {key}=, one of {', '.join(kinds)}")
    return _Columns(data, str(image), str(label)), getattr(data.features[label], "names", None)


def find_column(kinds: Mapping[str, str], kind: str, names: Sequence[str]) -> str | None:
    """Finds a column: the only one of a type, else one with a usual name; None if there is neither.

    Args:
        kinds: type of each column, by its name.
        kind: the type.
        names: usual names.
    """
    columns = [column for column, column_kind in kinds.items() if column_kind == kind]
    return columns[0] if len(columns) == 1 else next((name for name in names if name in kinds), None)


class _Columns:
    """Pairs of two columns of a Hugging Face dataset."""

    def __init__(self, data: Any, image: str, label: str) -> None:
        self._data, self._image, self._label = data, image, label

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        row = self._data[index]
        image = row[self._image]
        if isinstance(image, list):  # a column of an array type
            array = np.array(image)
            is_bytes = array.dtype.kind in "iu" and array.size and array.min() >= 0 and array.max() <= 255
            image = array.astype(np.uint8) if is_bytes else array
        return image, row[self._label]


def _class_names(data: Any) -> Sequence[str] | None:
    # torchvision's attributes; a Subset has them in its inner dataset.
    while data is not None:
        by_name = getattr(data, "class_to_idx", None)
        classes = getattr(data, "classes", None)
        if isinstance(classes, list | tuple):
            return classes
        if isinstance(by_name, Mapping):
            return sorted(by_name, key=lambda name: by_name[name])
        data = getattr(data, "dataset", None)
    return None


def _checked_names(classes: Sequence[str] | None, name: str) -> tuple[str, ...] | None:
    if classes is None:
        return None
    names = tuple(map(str, classes))
    for class_name in names:
        if "${" in class_name or class_name == "???":  # OmegaConf would interpolate it
            raise ConfigError(f"{name}: a class is called {class_name!r}; rename it, without ${{ or ???")
    if len(set(names)) < len(names):
        raise ConfigError(f"{name}: two classes have the same name: {name_some(names)}")
    return names


def _stack(data: Any, name: str) -> tuple[Tensor, Tensor]:
    # Converts items (image, label) to images uint8 [N, channels, H, W] and labels [N].
    images, labels = [], []
    for i in range(len(data)):
        item = data[i]
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise ConfigError(f"{name}: item {i} is a {type(item).__name__}, not (image, label)")
        images.append(picture_to_pixels(item[0], f"{name}: image {i}"))
        labels.append(to_label(item[1], f"{name}: label {i}"))
        if images[i].shape[1:] != images[0].shape[1:]:
            sizes = [shape_name(image.shape[1:]) for image in (images[i], images[0])]
            raise ConfigError(f"{name}: image {i} is {sizes[0]}, image 0 {sizes[1]}; resize all to one size")
    channels = max((len(image) for image in images), default=1)  # with one colour image, all become colour
    stacked = [image.expand(channels, -1, -1) for image in images]
    return torch.stack(stacked) if stacked else torch.empty(0, 1, 1, 1), torch.tensor(labels)
