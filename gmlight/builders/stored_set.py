"""Opens a condensed set with its dataset and its evaluators."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import DictConfig
from rich.console import Console

from gmlight.artifacts.condensed_set import CondensedDataset
from gmlight.artifacts.record import Invocation
from gmlight.builders.data import build_data, load_data
from gmlight.builders.evaluators import build_evaluators
from gmlight.builders.parts import build_compilation
from gmlight.builders.trainer import build_trainer
from gmlight.config.compose import option_changes
from gmlight.config.labels import architecture_label
from gmlight.data.datamodule import CondensationData
from gmlight.data.images import DatasetInfo, LabelledImages
from gmlight.data.names import name_some, name_values
from gmlight.errors import ConfigError
from gmlight.reporting.data_table import print_data_table
from gmlight.training.evaluator import Evaluator


@dataclass(frozen=True)
class StoredSet:
    """A condensed set with its dataset, both loaded onto a device, and its evaluators.

    Args:
        metadata: the set's metadata, written by its run.
        name: of the set, in tables.
        images: the condensed images.
        data: the dataset that was condensed.
        evaluators: by architecture.
        device: of images and data.
        same_test_images: whether the run that made the set was tested on the same images; None: unknown, as
            for older sets and another `holdout`.
    """

    metadata: dict[str, Any]
    name: str
    images: LabelledImages
    data: CondensationData
    evaluators: dict[str, Evaluator]
    device: torch.device
    same_test_images: bool | None


def open_set(config: DictConfig, called: Invocation, console: Console) -> StoredSet:
    """Loads the set that `config.run` names, and its dataset.

    Args:
        config: of a command that uses a set.
        called: how the command was called.
        console: gets a table of the data, and a line if held-out training images are the test set, or if
            the test set changed.

    Raises:
        ConfigError: set and dataset do not match, or the trainer has several processes.
    """
    condensed = CondensedDataset(config.run)
    metadata = condensed.metadata
    stored_ipc = metadata["config"]["ipc"]
    in_part = config.ipc != stored_ipc
    if in_part:
        condensed = CondensedDataset(config.run, ipc=config.ipc)
    holdout = metadata["config"].get("holdout", 0)  # older sets lack it
    if config.holdout not in (0, holdout):
        raise ConfigError(
            f"holdout={config.holdout}: the set was made with holdout={holdout}; use that, or 0"
        )
    if config.holdout:
        console.print(f"tested on the {config.holdout:.0%} of the training images that were held out")
    data = build_data(config)
    changes = option_changes(config, "architecture", called.choices["architecture"], metadata["config"])
    source = architecture_label(called.choices["architecture"] or metadata["architecture"], changes)
    compilation = build_compilation(config, console.print)
    evaluators = build_evaluators(config, data, source, compilation, console)
    trainer = build_trainer(config)
    if trainer.world_size > 1:
        raise ConfigError("trainer.devices: a set is evaluated by one process; use trainer=auto")
    device = trainer.strategy.root_device
    refuse_other_data(condensed, load_data(data, trainer))
    refuse_condensed_test_images(metadata, data.info)
    print_data_table(data, console)
    name = "condensed" if metadata["complete"] else "condensed (incomplete)"
    if in_part:
        name += f", first {config.ipc} of {stored_ipc}"
    if condensed.soft_labels is not None:
        name += ", soft labels"
    images = condensed.labelled().to(device)
    same = same_test_images(metadata, data.info) if config.holdout == holdout else None
    if same is False:
        console.print(
            "warning: the test images are not those of the run that made the set; its accuracies cannot be "
            "compared with these"
        )
    return StoredSet(metadata, name, images, data, evaluators, device, same)


def same_test_images(metadata: Mapping[str, Any], info: DatasetInfo) -> bool | None:
    """Whether the run that made a set was tested on the images of a dataset; None: unknown."""
    before, now = metadata.get("data"), info.digest
    return None if before is None or now is None else before["test"]["sha256"] == now.test.sha256


def refuse_other_data(condensed: CondensedDataset, data: CondensationData) -> None:
    """Checks that a set has the classes, the image shape and the normalisation of a dataset.

    Raises:
        ConfigError: it does not.
    """
    compared = {
        "classes": (condensed.classes, list(data.classes)),
        "image shape": (tuple(condensed.images.shape[1:]), data.shape),
        "mean": (condensed.mean, list(data.mean)),
        "std": (condensed.std, list(data.std)),
    }
    for quality, (expected, found) in compared.items():
        if expected != found:
            known, given = name_values(expected), name_values(found)
            raise ConfigError(f"the set's {quality} {known} is not the dataset's {given}")


def refuse_condensed_test_images(metadata: Mapping[str, Any], info: DatasetInfo) -> None:
    """Checks that a joined set is tested on the images on which its parts were tested.

    A folder without a test part is split anew for each choice of classes. So an image that is tested now may
    have been condensed into a part.

    Args:
        metadata: of the set.
        info: of the dataset.

    Raises:
        ConfigError: the test images of a class are not those of its part.
    """
    if info.digest is None:
        return
    now = dict(zip(info.classes, info.digest.tested, strict=True))
    for part in metadata.get("parts", []):
        before = zip(part["classes"], part.get("tested") or [], strict=False)  # None: of older parts
        if other := [name for name, digest in before if now.get(name) != digest]:
            raise ConfigError(
                f"the test images of class {name_some(other)} are not those of the part that has the class, "
                "which may have been condensed from them; give the dataset a test part (train/ and test/ "
                "folders) and condense the parts again"
            )
