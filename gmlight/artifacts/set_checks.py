"""Checks that the files of a condensed set agree with each other, before anything is computed from them."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gmlight.artifacts.decoding import Stored, decoded_shape
from gmlight.artifacts.value_checks import (
    check_evaluations,
    check_record,
    is_finite,
    is_text,
    is_whole,
    refuse,
)
from gmlight.errors import ConfigError

_TENSORS = {
    "pixels": {"images"},
    "multi_formation": {"images"},
    "shared_components": {"components", "weights"},
}
_DIMENSIONS = {"images": 4, "components": 5, "weights": 3, "labels": 1, "soft_labels": 2}
_LEAST_SUM, _LARGEST_SUM = 0.999, 1.001  # of the probabilities in a soft label, which are rounded
# Limits of decoding: the larger of the two, in bytes.
LARGEST_DECODED, LARGEST_GROWTH = 2**28, 256
_LARGEST_STATISTIC = 1e6  # of pixels in 0..1


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """Checks the type and range of each value that gmlight reads.

    Raises:
        ConfigError: a value is wrong; the line names its key.
    """
    classes, mean, std = (metadata[key] for key in ("classes", "mean", "std"))
    if not (isinstance(classes, list) and classes and all(is_text(name) and name for name in classes)):
        refuse("classes", "must be a list of names")
    if len(set(classes)) < len(classes):
        refuse("classes", "must be different names")
    for name, values in (("mean", mean), ("std", std)):
        if not (isinstance(values, list) and values and all(map(is_finite, values))):
            refuse(name, "must be a list of numbers")
        if max(map(abs, values)) > _LARGEST_STATISTIC:
            refuse(name, f"must be at most {_LARGEST_STATISTIC:.0f}")
    if min(std) < 1 / _LARGEST_STATISTIC:
        refuse("std", f"must be above 0, at least {1 / _LARGEST_STATISTIC}")
    if type(metadata.get("soft_labels", False)) is not bool:
        refuse("soft_labels", "must be true or false")
    if "form" in metadata:
        _check_form(metadata["form"])
    check_record(metadata)
    check_evaluations(metadata.get("evaluations", []))


def _check_form(form: Any) -> None:
    if not isinstance(form, dict) or not is_text(form.get("name")) or form["name"] not in _TENSORS:
        refuse("form", f"must name one of {', '.join(_TENSORS)}")
    known = {"name", "factor"} if form["name"] == "multi_formation" else {"name"}
    if set(form) != known:
        refuse("form", f"must have the keys {', '.join(sorted(known))}")
    if "factor" in form and not (is_whole(form["factor"]) and form["factor"] >= 1):
        refuse("form.factor", "must be a whole number of at least 1")


def check_tensors(stored: Stored, metadata: Mapping[str, Any]) -> None:
    """Checks the stored tensors against the metadata, and the size to which they decode.

    Args:
        stored: the tensors and their form.
        metadata: checked with `check_metadata`.

    Raises:
        ConfigError: a tensor is missing, surplus, or of the wrong type, shape or values.
    """
    tensors, form = stored.tensors, stored.form
    names = _TENSORS[form["name"]] | {"labels"} | ({"soft_labels"} if metadata.get("soft_labels") else set())
    if set(tensors) != names:
        refuse("tensors", f"are {', '.join(sorted(tensors))}; must be {', '.join(sorted(names))}")
    for name, tensor in tensors.items():
        expected = torch.int64 if name == "labels" else torch.float32
        if tensor.dtype != expected:
            refuse(name, f"must be {expected}, not {tensor.dtype}")
        if tensor.ndim != _DIMENSIONS[name] or 0 in tensor.shape:
            refuse(name, f"must have {_DIMENSIONS[name]} dimensions above 0, not {list(tensor.shape)}")
        if name != "labels" and not tensor.isfinite().all():
            refuse(name, "must be finite")
    _check_counts(stored, metadata)


def _check_counts(stored: Stored, metadata: Mapping[str, Any]) -> None:
    tensors, labels, classes = stored.tensors, stored.tensors["labels"], len(metadata["classes"])
    floats = sum(tensor.numel() for name, tensor in tensors.items() if name != "labels")
    storage = metadata.get("storage")
    if storage is not None and storage != {"floats": floats, "bytes": 4 * floats}:
        refuse("storage", f"must be that of the {floats} stored values")
    try:
        shape = decoded_shape(stored, classes)
    except ValueError as error:
        refuse("form", str(error))
    if 4 * math.prod(shape) > max(LARGEST_DECODED, LARGEST_GROWTH * 4 * floats):
        refuse("form", f"decodes {4 * floats} bytes to {4 * math.prod(shape)}, which is not plausible")
    for name in ("mean", "std"):
        if len(metadata[name]) != shape[1]:
            refuse(name, f"must have a value for each of {shape[1]} channels")
    if len(labels) != shape[0]:
        refuse("labels", f"are {len(labels)}, for {shape[0]} images")
    if labels.min() < 0 or labels.max() >= classes:
        refuse("labels", f"must be 0 to {classes - 1}")
    if "soft_labels" in tensors:
        check_soft_labels(tensors["soft_labels"], shape[0], classes)
    counts = labels.bincount(minlength=classes)
    if counts.min() == 0:
        refuse("classes", "must have at least one image each")
    _check_ipc(metadata.get("config", {}), _stored_per_class(stored, counts))
    if stored.form["name"] != "pixels" and not labels.equal(_sorted_labels(shape[0], classes)):
        refuse("labels", "must be sorted, with equal numbers of images per class")


def check_soft_labels(soft_labels: Tensor, images: int, classes: int) -> None:
    """Checks that soft labels are a probability of each class for each image.

    Args:
        soft_labels: finite floats of two dimensions.
        images: number of images, N.
        classes: number of classes, C.

    Raises:
        ConfigError: they are not [N, C], a value is below 0, or a row does not sum to 1.
    """
    if list(soft_labels.shape) != [images, classes]:
        refuse("soft_labels", f"must be [{images}, {classes}], not {list(soft_labels.shape)}")
    sums = soft_labels.double().sum(1)
    if soft_labels.min() < 0 or sums.min() < _LEAST_SUM or sums.max() > _LARGEST_SUM:
        refuse("soft_labels", "must be probabilities: none below 0, and those of an image sum to 1")


def _stored_per_class(stored: Stored, counts: Tensor) -> set[int]:
    # The numbers of stored images per class, which may decode to more.
    if stored.form["name"] == "shared_components":
        return {stored.tensors["components"].shape[1]}
    return {count // stored.form.get("factor", 1) ** 2 for count in counts.tolist()}


def _check_ipc(config: Mapping[str, Any], found: set[int]) -> None:
    if "ipc" in config and not (is_whole(config["ipc"]) and found == {config["ipc"]}):
        refuse("config.ipc", f"must be the number of stored images per class, {sorted(found)}")


def _sorted_labels(images: int, classes: int) -> Tensor:
    return torch.arange(classes).repeat_interleave(images // classes)


def check_decoded(images: Tensor) -> None:
    """Checks that the decoded images are finite.

    Raises:
        ConfigError: a value is not finite.
    """
    if not images.isfinite().all():
        raise ConfigError("images: must be finite")
