"""Digests that identify the images of a dataset, as networks see them."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class SplitDigest:
    """Identifies the images of one split.

    Args:
        sha256: of images, labels, class names and normalisation.
        counts: images per class, [C].
    """

    sha256: str
    counts: list[int]


@dataclass(frozen=True)
class DataDigest:
    """Identifies the data of a run; equal digests mean equal normalised images in equal order.

    Args:
        train: of the training images.
        test: of the test images.
        tested: of the test images of each class alone, [C]; they do not depend on the other classes.
    """

    train: SplitDigest
    test: SplitDigest
    tested: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain containers."""
        return asdict(self)

    def identity(self) -> dict[str, Any]:
        """What logged accuracies are found by: the fields that digests always had, as plain containers."""
        return {"train": asdict(self.train), "test": asdict(self.test)}


def digest_split(
    images: Tensor, labels: Tensor, classes: Sequence[str], mean: Sequence[float], std: Sequence[float]
) -> SplitDigest:
    """Computes the digest of a split.

    Args:
        images: uint8 [N, channels, H, W].
        labels: int64 [N].
        classes: class names, in the order of the labels.
        mean: per channel, of pixels in 0..1.
        std: per channel, of pixels in 0..1.
    """
    described = (tuple(images.shape), list(classes), [float(m) for m in mean], [float(s) for s in std])
    found = hashlib.sha256(repr(described).encode(errors="surrogateescape"))
    for tensor in (images, labels):
        found.update(_bytes(tensor))
    return SplitDigest(found.hexdigest(), torch.bincount(labels, minlength=len(classes)).tolist())


def digest_classes(images: Tensor, labels: Tensor, number: int) -> list[str]:
    """Computes the digest of the images of each class.

    Args:
        images: uint8 [N, channels, H, W].
        labels: int64 [N].
        number: of classes, C.

    Returns:
        16 characters for each class, [C].
    """
    return [hashlib.sha256(_bytes(images[labels == c])).hexdigest()[:16] for c in range(number)]


def explain_changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Says which splits differ, with their numbers of images.

    Args:
        before: a digest as plain containers.
        now: another.

    Returns:
        Such as `training images (30, were 31)`; empty if the data are equal.
    """
    changes = []
    for split, name in (("train", "training images"), ("test", "test images")):
        if before[split]["sha256"] != now[split]["sha256"]:
            counts = [sum(each[split]["counts"]) for each in (now, before)]
            changes.append(name if counts[0] == counts[1] else f"{name} ({counts[0]}, were {counts[1]})")
    return changes


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.contiguous().numpy().data.cast("B") if tensor.numel() else memoryview(b"")
