"""Builds small parts of a run: network factories, compilation, augmentation, loggers."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig
from torch import nn

from gmlight.architectures.blocks import uses_batch_norm
from gmlight.builders.part_checks import (
    check_augmentation,
    check_distance,
    check_factory,
    check_rule,
    check_schedule,
    checked_initialization,
)
from gmlight.builders.part_errors import build_part
from gmlight.condensation.schedules import Schedule
from gmlight.config.compose import instantiate
from gmlight.data.augmentation import NamedAugmentation, as_augmentation
from gmlight.data.dsa import Siamese
from gmlight.data.images import TrainingSet
from gmlight.errors import ConfigError
from gmlight.matching.distances import Distance
from gmlight.matching.rules import Rule, as_rule
from gmlight.reporting.loggers import DashboardLabels
from gmlight.runtime.compile import Compilation
from gmlight.runtime.rank import is_main
from gmlight.training.steps import SGDSettings

OF_MATCHER = ("mixed_real", "mixed_synthetic", "layers", "step")  # keys of matching that no rule takes


@dataclass(frozen=True)
class Parts:
    """The parts of a run that need no data, each built and checked once.

    Args:
        factory: makes networks of the architecture that is matched.
        rule: what is matched.
        distance: between gradients.
        schedule: how long the network trains between image updates.
        initialization: makes the initial synthetic set.
        augmentation: of evaluation networks' training, and of matching if it is Siamese.
        compilation: decides what is compiled.
    """

    factory: Callable[[], nn.Module]
    rule: Rule
    distance: Distance
    schedule: Schedule
    initialization: Callable[..., TrainingSet]
    augmentation: NamedAugmentation
    compilation: Compilation

    @property
    def dsa(self) -> Siamese | None:
        """The transform of images that are matched; None if the augmentation is not Siamese."""
        return self.augmentation if self.augmentation.while_matching else None  # type: ignore[return-value]


def build_parts(config: DictConfig, notify: Callable[[str], None]) -> Parts:
    """Builds the parts of a run that need no data, so that a wrong one is refused before the data is read.

    Args:
        config: the composed configuration.
        notify: called with a line on each compilation.

    Raises:
        ConfigError: a part cannot be built, or does not do what it has to.
    """
    distance = build_distance(config)
    return Parts(
        factory=build_factory(config.architecture, config.dataset),
        rule=build_rule(config, distance),
        distance=distance,
        schedule=build_schedule(config),
        initialization=build_initialization(config),
        augmentation=build_augmentation(config),
        compilation=build_compilation(config, notify),
    )


def build_factory(
    architecture: DictConfig, dataset: DictConfig, option: str | None = None
) -> Callable[[], nn.Module]:
    """Builds a factory of fresh networks for the dataset's images.

    Args:
        architecture: the architecture's node.
        dataset: the dataset's node.
        option: the architecture's name, for messages; None: the chosen option.

    Raises:
        ConfigError: no network can be built, or it does not fit the images.
    """
    factory = functools.partial(
        build_part("architecture", architecture, option),
        channels=dataset.channels,
        size=tuple(dataset.size),
        classes=len(dataset.classes),
    )
    return check_factory(factory, (dataset.channels, *dataset.size), len(dataset.classes), option)


def needs_statistics(factory: Callable[[], nn.Module]) -> bool:
    """Whether the factory's networks have batch norm, whose statistics matching must update."""
    with torch.device("meta"):
        return uses_batch_norm(factory())


def build_compilation(config: DictConfig, notify: Callable[[str], None]) -> Compilation:
    """Builds the object that decides what is compiled in the whole run.

    Args:
        config: the composed configuration.
        notify: called with one line per decision.
    """
    return Compilation(config.speed.compile, notify)


def build_augmentation(config: DictConfig) -> NamedAugmentation:
    """Builds the augmentation for the training of evaluation networks; `dsa` also applies to matching."""
    augmentation = build_part("augmentation", without(config.augmentation, "evaluation_epochs"))
    check_augmentation(augmentation, (config.dataset.channels, *config.dataset.size))
    return as_augmentation(augmentation)


def build_rule(config: DictConfig, distance: Distance | None = None) -> Rule:
    """Builds the matching rule; wraps a user-defined function.

    Args:
        config: the composed configuration.
        distance: to try the rule with; None: the configuration's.

    Raises:
        ConfigError: `matching.mixed_real` is set, but the rule needs class batches at every outer iteration.
    """
    rule = as_rule(build_part("matching", without(config.matching, *OF_MATCHER)))
    check_rule(rule, distance or build_distance(config), len(config.dataset.classes))
    mixed = config.matching.get("mixed_real", 0)
    if mixed and not any(rule.needs_mixed_batches(k) for k in range(2)):
        raise ConfigError(
            f"matching.mixed_real={mixed}: this rule needs a batch of each class; use 0, or matching=inter"
        )
    return rule


def build_distance(config: DictConfig) -> Distance:
    """Builds the distance between two gradients of a layer."""
    return check_distance(build_part("distance", config.distance))


def build_schedule(config: DictConfig) -> Schedule:
    """Builds the schedule as a function of t and the losses; its unit belongs to the inner loop."""
    schedule = build_part("schedule", without(config.schedule, "unit"))
    return check_schedule(schedule) if config.updates > 1 else schedule


def build_initialization(config: DictConfig) -> Callable[..., TrainingSet]:
    """Builds what makes the initial set."""
    return checked_initialization(build_part("initialization", config.initialization))


def network_sgd(config: DictConfig) -> SGDSettings:
    """Reads how the networks that are matched train: between image updates, and wherever else they do."""
    return SGDSettings(
        config.train_batch, config.network_lr, config.network_momentum, config.network_weight_decay
    )


def build_loggers(config: DictConfig, folder: Path, labels: DashboardLabels) -> list[Logger]:
    """Builds Lightning's loggers on rank 0; other ranks have none."""
    return [make(folder, labels) for make in instantiate(config.logger).values()] if is_main() else []


def build_callbacks(config: DictConfig) -> list[Callback]:
    """Builds Lightning callbacks that the user adds with `+callbacks.<name>._target_=<class>`.

    Raises:
        ConfigError: an entry is not a Lightning callback.
    """
    nodes = {name: node for name, node in config.get("callbacks", {}).items() if node is not None}
    built = {
        name: build_part(f"callbacks.{name}", node) if isinstance(node, DictConfig) else node
        for name, node in nodes.items()
    }
    for name, callback in built.items():
        if not isinstance(callback, Callback):
            raise ConfigError(
                f"callbacks.{name}: must be a Lightning callback; name its class in callbacks.{name}._target_"
            )
    return list(built.values())


def without(node: DictConfig, *keys: str) -> dict[str, Any]:
    # Drops keys that the node's function does not take.
    return {str(key): value for key, value in node.items() if key not in keys}


def unless_auto(value: int | str) -> int | None:
    return None if isinstance(value, str) else value
