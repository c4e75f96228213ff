"""A condensed set with its data and its evaluators."""

from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import DictConfig
from rich.console import Console

from gmlight.artifacts.condensed_set import CondensedDataset
from gmlight.artifacts.record import Invocation
from gmlight.builders.data import build_data
from gmlight.builders.evaluators import build_evaluators
from gmlight.builders.parts import build_compilation
from gmlight.builders.trainer import build_trainer
from gmlight.config.labels import architecture_label
from gmlight.data.datamodule import CondensationData
from gmlight.data.images import LabelledImages
from gmlight.errors import ConfigError
from gmlight.training.evaluator import Evaluator


@dataclass(frozen=True)
class StoredSet:
    """A condensed set, loaded with its data onto a device, and what trains networks on it.

    made: the set's metadata. name: what it is called in a table. evaluators: by architecture.
    """

    made: dict[str, Any]
    name: str
    images: LabelledImages
    data: CondensationData
    evaluators: dict[str, Evaluator]
    device: torch.device


def open_set(config: DictConfig, called: Invocation, console: Console) -> StoredSet:
    """Loads config.run's set and its dataset, and refuses one that does not fit the other.

    Args:
        config: of a command on a set.
        called: how the command was called.
        console: gets a line on what the set is tested on.

    Raises:
        ConfigError: they do not fit, or several processes were asked for.
    """
    condensed = CondensedDataset(config.run)
    made = condensed.metadata
    own = made["config"].get("holdout", 0)
    if config.holdout not in (0, own):
        raise ConfigError(f"holdout={config.holdout}: the set was made with holdout={own}; use that, or 0")
    if config.holdout:
        console.print(f"tested on the {config.holdout:.0%} of the training images that were held out")
    data = build_data(config)
    chosen = called.choices["architecture"] or made["architecture"]
    source = architecture_label(chosen, called.overrides)
    compilation = build_compilation(config, console.print)
    evaluators = build_evaluators(config, data, source, compilation, console)
    trainer = build_trainer(config)
    if trainer.world_size > 1:
        raise ConfigError("trainer.devices: a set is evaluated by one process; use trainer=auto")
    device = trainer.strategy.root_device
    _refuse_other_data(condensed, data.load(device))
    name = "condensed" if made["complete"] else "condensed (incomplete)"
    images = condensed.labelled().to(device)
    return StoredSet(made, name, images, data, evaluators, device)


def _refuse_other_data(condensed: CondensedDataset, data: CondensationData) -> None:
    # A set can only be tested on the classes, images and normalisation that it was made for.
    pairs = {
        "classes": (condensed.classes, list(data.classes)),
        "image shape": (tuple(condensed.images.shape[1:]), data.shape),
        "mean": (condensed.mean, list(data.mean)),
        "std": (condensed.std, list(data.std)),
    }
    for what, (of_set, of_data) in pairs.items():
        if of_set != of_data:
            raise ConfigError(f"the set's {what} {of_set} is not the dataset's {of_data}")
