"""Datasets that a Python program passes in memory (`dataset=in_memory`).

While a dataset is `shared`, runs in this process find it by its hash.
"""

import functools
import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gmlight.data.datasets import Splits
from gmlight.data.inputs import Columns, Split, read_split
from gmlight.data.names import name_some
from gmlight.data.pixels import shape_name
from gmlight.errors import ConfigError

_shared: dict[str, "InMemoryData"] = {}  # by sha256


@dataclass(frozen=True)
class InMemoryData:
    """A dataset in memory.

    Args:
        train: the training split.
        test: the test split; None: a share of the training split is held out.
        classes: class names by label.
    """

    train: Split
    test: Split | None
    classes: tuple[str, ...]

    @functools.cached_property
    def sha256(self) -> str:
        """Hash of the shapes, images and labels of both splits."""
        digest = hashlib.sha256()
        for split in filter(None, (self.train, self.test)):
            digest.update(str(tuple(split.images.shape)).encode())
            for tensor in (split.images, split.labels):
                digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, H, W) of an image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width


@contextmanager
def shared(data: InMemoryData) -> Iterator[None]:
    """Makes the data available to `read` and `find_classes` inside the block."""
    _shared[data.sha256] = data
    try:
        yield
    finally:
        _shared.pop(data.sha256, None)


def read(root: str | None, download: bool, *, sha256: str | None) -> Splits:
    """Returns the splits of the shared data with this hash.

    Args:
        root: ignored.
        download: ignored.
        sha256: hash of the `InMemoryData`.

    Raises:
        ConfigError: no such data is shared in this process.
    """
    data = _known(sha256)
    # Without a test split, a share of the training split is held out later and replaces it.
    train, test = data.train, data.test or data.train
    return (train.images, train.labels), (test.images, test.labels)


def find_classes(root: str | None, *, sha256: str | None) -> list[str]:
    """Returns the class names of the shared data with this hash.

    Args:
        root: ignored.
        sha256: hash of the `InMemoryData`.

    Raises:
        ConfigError: no such data is shared in this process.
    """
    return list(_known(sha256).classes)


def _known(sha256: str | None) -> InMemoryData:
    if sha256 not in _shared:
        raise ConfigError(
            "dataset=in_memory: the images were passed from Python and are not on disk; call "
            "gmlight.condense(train, ..., folder=<run folder>, resume=True) with the same images, or "
            "gmlight.evaluate(set, test=...)"
        )
    return _shared[sha256]


def in_memory(train: Any, test: Any = None, columns: Columns | None = None) -> InMemoryData:
    """Converts and checks the data that a program passes.

    Args:
        train: a dataset of (image, label), a pair (images, labels), or a Hugging Face dataset.
        test: data in the same forms; None: no test split.
        columns: column names of Hugging Face datasets; None: found automatically.

    Raises:
        ConfigError: a split cannot be used; the message names the split and the reason.
    """
    train_split = read_split(train, "train", columns or Columns())
    classes = train_split.classes or tuple(map(str, range(int(train_split.labels.max()) + 1)))
    _check_labels(train_split.labels, classes, "train")
    _check_classes(train_split.labels, classes)
    if test is None:
        _check_holdout(train_split.labels, classes)
        return InMemoryData(train_split, None, classes)
    test_split = read_split(test, "test", columns or Columns())
    check_fit(test_split, classes, tuple(train_split.images.shape[1:]), "train")
    return InMemoryData(train_split, test_split, classes)


def check_fit(test: Split, classes: Sequence[str], shape: Sequence[int], reference: str) -> None:
    """Checks that a test split has the required classes and image shape.

    Args:
        test: the split.
        classes: required class names, in the order of the labels.
        shape: required (channels, H, W) of the images.
        reference: name of the data that require them, for the message.

    Raises:
        ConfigError: the classes, the labels or the shape differ.
    """
    if tuple(test.images.shape[1:]) != tuple(shape):
        raise ConfigError(
            f"test: images are {shape_name(test.images.shape[1:])}, those of {reference} {shape_name(shape)}"
        )
    if test.classes is not None and list(test.classes) != list(classes):
        raise ConfigError(
            f"test: classes are {name_some(test.classes)}, those of {reference} {name_some(classes)}"
        )
    _check_labels(test.labels, classes, "test")


def convnet_depth(size: Sequence[int]) -> int:
    """Returns the depth of a ConvNet: 3 for 32x32, one more for twice the size, at least 2 if possible.

    Args:
        size: [H, W].
    """
    doublings = math.log2(min(size))
    return max(1, min(max(2, round(doublings) - 2), int(doublings)))


def _check_labels(labels: Tensor, classes: Sequence[str], name: str) -> None:
    least, most = int(labels.min()), int(labels.max())
    if least < 0 or most >= len(classes):
        numbers = f"{len(classes)} classes are numbered 0 to {len(classes) - 1}"
        raise ConfigError(f"{name}: labels from {least} to {most}; {numbers}")


def _check_classes(labels: Tensor, classes: Sequence[str]) -> None:
    if len(classes) < 2:
        raise ConfigError(f"train: {len(classes)} class; at least 2 are needed")
    counts = labels.bincount(minlength=len(classes))
    if not counts.all():
        label = int(counts.argmin())
        raise ConfigError(
            f"train: no image of class {classes[label]!r} (label {label}); number the labels 0 to C-1"
        )


def _check_holdout(labels: Tensor, classes: Sequence[str]) -> None:
    counts = labels.bincount(minlength=len(classes))
    if counts.min() < 2:
        name = classes[int(counts.argmin())]
        raise ConfigError(f"train: class {name!r} has one image, too few to hold some out; give test=")
