"""Joins condensed sets of different classes into one set with all their classes."""

import copy
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from gmlight.artifacts.decoding import Stored, decoded_shape, formed
from gmlight.artifacts.results import origin
from gmlight.artifacts.value_checks import check_run
from gmlight.data.images import DatasetInfo, LabelledImages
from gmlight.data.names import name_some
from gmlight.errors import ConfigError

# Keys of a dataset in which the parts of a joined set may differ; `sha256` is of images from a program.
_OF_A_PART = ("classes", "name", "sha256")


@dataclass(frozen=True)
class Part:
    """A condensed set that is joined with others.

    Args:
        path: of the set, for messages.
        metadata: of the set, checked.
        stored: its tensors and their form, checked.
    """

    path: Path
    metadata: Mapping[str, Any]
    stored: Stored

    @property
    def classes(self) -> list[str]:
        """Class names, by label."""
        return self.metadata["classes"]

    def decoded(self) -> tuple[Tensor, Tensor]:
        """Returns the images [N, channels, H, W] and their labels [N]."""
        return formed(self.stored, len(self.classes), self.metadata["mean"], self.metadata["std"])


@dataclass(frozen=True)
class Joined:
    """A joined set, as `condensed_set.write` takes it.

    Args:
        images: the decoded images of all parts.
        info: with the classes of all parts, in the order of the parts.
        stored: the form that all parts share; None: their forms differ, and the images are stored.
        metadata: describes the parts; a configuration only if the parts have one in common.
    """

    images: LabelledImages
    info: DatasetInfo
    stored: Stored | None
    metadata: dict[str, Any]


def join(parts: Sequence[Part], to: Path) -> Joined:
    """Joins sets whose classes are disjoint; labels are renumbered in the order of the parts.

    A part without soft labels gets one-hot rows if another part has soft labels; rows are 0 in the classes of
    the other parts.

    Args:
        parts: two or more sets.
        to: the folder of the joined set, for its record.

    Raises:
        ConfigError: there are fewer parts, a class is in two of them, or they differ in shape or
            normalisation.
    """
    _check(parts)
    images, labels = zip(*(part.decoded() for part in parts), strict=True)
    offsets = [sum(len(part.classes) for part in parts[:i]) for i in range(len(parts))]
    numbered = torch.cat([label + offset for label, offset in zip(labels, offsets, strict=True)])
    classes = tuple(name for part in parts for name in part.classes)
    mean, std = (tuple(parts[0].metadata[key]) for key in ("mean", "std"))
    shape = tuple(images[0].shape[1:])
    priors = (1 / len(classes),) * len(classes)
    return Joined(
        LabelledImages(torch.cat(images), numbered, soft_labels=_soft_labels(parts, labels, offsets)),
        DatasetInfo(classes, mean, std, shape, priors),
        stored := _common_form(parts),
        _metadata(parts, classes, _stored_per_class(stored, numbered, len(classes)), to),
    )


def _check(parts: Sequence[Part]) -> None:
    if len(parts) < 2:
        raise ConfigError(f"runs: {len(parts)} set; name two or more, such as runs=[a,b]")
    first, seen = parts[0], dict[str, Part]()
    for part in parts:
        if both := [name for name in part.classes if name in seen]:
            there = seen[both[0]].path
            raise ConfigError(f"{part.path}: has classes of {there}: {name_some(both)}; join disjoint sets")
        seen |= dict.fromkeys(part.classes, part)
        pairs = {
            "image shape is": [decoded_shape(each.stored, len(each.classes))[1:] for each in (part, first)],
            "mean is": [each.metadata["mean"] for each in (part, first)],
            "std is": [each.metadata["std"] for each in (part, first)],
        }
        for quality, (found, expected) in pairs.items():
            if found != expected:
                raise ConfigError(
                    f"{part.path}: its {quality} {list(found)}, that of {first.path} {list(expected)}; make "
                    "all parts with the same dataset.size, dataset.mean and dataset.std"
                )


def _soft_labels(parts: Sequence[Part], labels: Sequence[Tensor], offsets: Sequence[int]) -> Tensor | None:
    # [N, C], with the columns of all parts.
    if not any("soft_labels" in part.stored.tensors for part in parts):
        return None
    classes, rows = offsets[-1] + len(parts[-1].classes), []
    for part, label, offset in zip(parts, labels, offsets, strict=True):
        soft = part.stored.tensors.get("soft_labels")
        if soft is None:
            soft = one_hot(label, len(part.classes)).float()
        wide = soft.new_zeros(len(soft), classes)
        wide[:, offset : offset + soft.shape[1]] = soft
        rows.append(wide)
    return torch.cat(rows)


def _common_form(parts: Sequence[Part]) -> Stored | None:
    # The tensors of all parts, if they have one form and equal sizes per class.
    form = parts[0].stored.form
    if form["name"] == "pixels" or any(part.stored.form != form for part in parts):
        return None
    names = [name for name in parts[0].stored.tensors if name not in ("labels", "soft_labels")]
    per_class = [
        [part.stored.tensors[name].unflatten(0, (len(part.classes), -1)) for part in parts] for name in names
    ]
    if any(len({tensor.shape[1:] for tensor in tensors}) > 1 for tensors in per_class):
        return None
    return Stored(
        {name: torch.cat(tensors).flatten(0, 1) for name, tensors in zip(names, per_class, strict=True)}, form
    )


def _stored_per_class(stored: Stored | None, labels: Tensor, classes: int) -> int | None:
    # The number of stored images per class; None if classes differ.
    if stored is not None:
        tensors = stored.tensors
        return (
            tensors["components"].shape[1] if "components" in tensors else len(tensors["images"]) // classes
        )
    counts = set(labels.bincount().tolist())
    return counts.pop() if len(counts) == 1 else None


def _metadata(parts: Sequence[Part], classes: Sequence[str], ipc: int | None, to: Path) -> dict[str, Any]:
    names = ",".join(str(part.path) for part in parts)
    metadata = {
        "complete": all(part.metadata.get("complete", True) for part in parts),
        "command": shlex.join(["python", "-m", "gmlight.merge", f"runs=[{names}]", f"to={to}"]),
        "parts": [_part_entry(part) for part in parts],
    }
    config = None if ipc is None else joined_config([part.metadata for part in parts], classes, ipc)
    if config is None:
        return metadata
    first = parts[0].metadata
    kept = {key: first[key] for key in ("architecture", "choices", "protocol") if key in first}
    scales = dict.fromkeys(part.metadata["scale"] for part in parts)
    return metadata | kept | {"method": "merged", "scale": " + ".join(scales), "config": config}


def _part_entry(part: Part) -> dict[str, Any]:
    # Images that were not tested in the run of a part were condensed.
    tested = (part.metadata.get("data") or {}).get("tested")
    return origin(dict(part.metadata)) | {"classes": part.classes, "tested": tested}


def joined_config(
    metadata: Sequence[Mapping[str, Any]], classes: Sequence[str], ipc: int
) -> dict[str, Any] | None:
    """Returns the first set's configuration with all classes, with which the joined set can be evaluated.

    Args:
        metadata: of the sets.
        classes: of the joined set.
        ipc: its number of stored images per class.

    Returns:
        Plain containers; None if a set has no configuration or was made with held-out images, or if their
        datasets differ in more than classes.
    """
    try:
        for each in metadata:
            check_run(each)
    except ConfigError:
        return None
    if any(each["config"].get("holdout") for each in metadata):
        return None  # a class's held-out images depend on the other classes
    datasets = [each["config"]["dataset"] for each in metadata]
    if any(_without_part(dataset) != _without_part(datasets[0]) for dataset in datasets):
        return None
    config: dict[str, Any] = copy.deepcopy(dict(metadata[0]["config"]))
    names = dict.fromkeys(dataset["name"] for dataset in datasets)
    config["dataset"] |= {"classes": list(classes), "name": " + ".join(names)}
    return config | {"ipc": ipc}


def _without_part(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    return {key: _without_part(value) for key, value in node.items() if key not in _OF_A_PART}
