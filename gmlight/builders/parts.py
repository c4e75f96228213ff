"""Small parts of a run: network factories, compilation, augmentation, loggers."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig
from torch import nn

from gmlight.architectures.blocks import uses_batch_norm
from gmlight.config.compose import instantiate
from gmlight.data.augmentation import NamedAugmentation, as_augmentation
from gmlight.errors import ConfigError
from gmlight.matching.rules import Rule, as_rule
from gmlight.reporting.loggers import DashboardLabels
from gmlight.runtime.compile import Compilation
from gmlight.runtime.rank import is_main


def build_factory(architecture: DictConfig, dataset: DictConfig) -> Callable[[], nn.Module]:
    """What makes fresh networks for the dataset's images; tried once, so that a wrong option fails here."""
    factory = functools.partial(
        instantiate(architecture),
        channels=dataset.channels,
        size=tuple(dataset.size),
        classes=len(dataset.classes),
    )
    with torch.device("meta"):
        factory()
    return factory


def needs_statistics(factory: Callable[[], nn.Module]) -> bool:
    """Whether matching on these networks has to move batch-norm statistics."""
    with torch.device("meta"):
        return uses_batch_norm(factory())


def build_compilation(config: DictConfig, notify: Callable[[str], None]) -> Compilation:
    """Decides what is compiled, for the whole run; `notify` gets a line on each."""
    return Compilation(config.speed.compile, notify)


def build_augmentation(config: DictConfig) -> NamedAugmentation:
    """Builds the augmentation of evaluation networks' training, and of matching if it is Siamese."""
    return as_augmentation(instantiate(without(config.augmentation, "evaluation_epochs")))


def build_rule(config: DictConfig) -> Rule:
    """The matching rule; a rule function of one's own is wrapped."""
    return as_rule(instantiate(without(config.matching, "mixed_real", "mixed_synthetic")))


def build_loggers(config: DictConfig, folder: Path, labels: DashboardLabels) -> list[Logger]:
    """Lightning's loggers, where this is the process that writes."""
    return [make(folder, labels) for make in instantiate(config.logger).values()] if is_main() else []


def build_callbacks(config: DictConfig) -> list[Callback]:
    """Builds Lightning callbacks that the user adds with `+callbacks.<name>._target_=<class>`.

    Raises:
        ConfigError: an entry is no callback.
    """
    built = {
        name: instantiate(node) for name, node in config.get("callbacks", {}).items() if node is not None
    }
    for name, callback in built.items():
        if not isinstance(callback, Callback):
            raise ConfigError(
                f"callbacks.{name}: must be a Lightning callback; name its class in callbacks.{name}._target_"
            )
    return list(built.values())


def without(node: DictConfig, *keys: str) -> dict[str, Any]:
    # What a node says besides its function's own arguments.
    return {str(key): value for key, value in node.items() if key not in keys}


def unless_auto(value: int | str) -> int | None:
    return None if isinstance(value, str) else value
