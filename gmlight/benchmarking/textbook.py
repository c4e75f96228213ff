"""Runs the plain loop with a run's configuration, as the baseline of gmlight's speed."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from omegaconf import DictConfig

from gmlight.builders.condenser import build_start
from gmlight.builders.parts import (
    build_augmentation,
    build_factory,
    build_rule,
    build_schedule,
    needs_statistics,
    network_sgd,
)
from gmlight.config.answers import answer, option_name
from gmlight.config.compose import instantiate
from gmlight.data.datamodule import CondensationData
from gmlight.data.images import random_sampling
from gmlight.errors import ConfigError
from gmlight.matching import reference
from gmlight.matching.rules import MatchingRule
from gmlight.runtime.seeding import seeded

PLAIN_TEST_BATCH = 256

Measurement = dict[str, Any]


def check_textbook_config(config: DictConfig) -> None:
    """Refuses a configuration that the plain loop cannot run.

    Raises:
        ConfigError: names the key and the values that the plain loop supports.
    """
    rule = getattr(build_rule(config), "name", "user-defined")
    pixels = answer(config.synthetic, "stores_pixels")
    synthetic = "pixels" if pixels else answer(config.synthetic, "__name__")
    random = instantiate(config.sampling) is random_sampling  # conf/ names it by a method of Hydra's
    sampling = "random" if random else option_name(config.sampling)
    for key, value, supported in (
        ("matching", rule, reference.RULES),
        ("matching.class_weights", config.matching.get("class_weights", "equal"), ["equal"]),
        ("matching.mixed_real", config.matching.get("mixed_real", 0), [0]),
        ("matching.layers", config.matching.get("layers", "all"), ["all"]),
        ("matching.step", config.matching.get("step", "all"), ["all"]),
        ("synthetic_batch", config.synthetic_batch, [0]),
        ("multi_size", config.multi_size, [False]),
        ("image_lr_warmup", config.image_lr_warmup, [0]),
        ("image_lr_decay", config.image_lr_decay, ["none"]),
        ("clip_images", config.clip_images, [False]),
        ("schedule.unit", config.schedule.unit, ["epochs"]),
        ("image_steps", config.image_steps, [1]),
        ("network_images", config.network_images, ["synthetic"]),
        ("network_start", config.network_start, ["fresh"]),
        ("network_cutmix", config.network_cutmix, [0]),
        ("synthetic", synthetic, ["pixels"]),
        ("sampling", sampling, ["random"]),
        ("augmentation", "dsa" if build_augmentation(config).while_matching else "none", ["none"]),
    ):
        if value not in supported:
            words = " or ".join(map(str, supported))
            raise ConfigError(f"{key}={value}: the plain loop has {words}; set against= to another side")
    if needs_statistics(build_factory(config.architecture, config.dataset)):
        raise ConfigError("architecture: the plain loop has no batch norm; set against= to another side")
    epochs_between(config)


def textbook_iteration(
    config: DictConfig, factory: Callable[[], torch.nn.Module], data: CondensationData
) -> tuple[Callable[[int, Callable], None], Measurement]:
    """Builds the plain outer iteration, and counts its images.

    Args:
        config: of a run.
        factory: makes a fresh network.
        data: the loaded dataset.

    Returns:
        The outer iteration, a function of k and a timer; and the numbers of real, synthetic and trained
        images in one iteration.
    """
    classes, device = len(data.classes), data.train.device
    start = build_start(config, data)
    images, _ = start.batch(torch.arange(len(start)))
    images = images.to(device).unflatten(0, (classes, config.ipc)).clone().requires_grad_()
    optimizer = torch.optim.SGD([images], lr=config.image_lr, momentum=config.image_momentum)
    sgd = network_sgd(config)
    training = reference.NetworkTraining(epochs_between(config), sgd.over, sgd.batch_size)
    rule, shares = build_rule(config), [1 / classes] * classes
    assert isinstance(rule, MatchingRule)  # by check_textbook_config
    loss = reference.MatchingLoss(
        rule.name, instantiate(config.distance), rule.weight(classes), shares, shares
    )

    def iteration(k: int, timed: Callable) -> None:
        network = reference.with_library_layers(fresh_network(config, factory, k)).to(device)
        reference.outer_iteration(
            images,
            optimizer,
            network,
            (data.draw(k, t).images[:] for t in range(config.updates)),
            functools.partial(loss, k=k),
            training,
            timed,
        )

    counts = {
        "real_images": config.updates * sum(min(config.real_batch, n) for n in data.train.counts),
        "synthetic_images": config.updates * classes * config.ipc,
        "trained_images": sum(training.epochs) * classes * config.ipc,
    }
    return iteration, counts


def epochs_between(config: DictConfig) -> list[int]:
    """Counts the network's epochs after each update except the last.

    Returns:
        T-1 numbers.

    Raises:
        ConfigError: the schedule measures losses, so that the numbers depend on the data.
    """

    class NoLosses:
        def real(self) -> float:
            raise ConfigError("schedule: its epochs depend on the data; benchmark fixed, adaptive or table")

        synthetic = real

    schedule = build_schedule(config)
    return [sum(1 for _ in schedule(t, NoLosses())) for t in range(config.updates - 1)]


def fresh_network(config: DictConfig, factory: Callable[[], torch.nn.Module], k: int) -> torch.nn.Module:
    """Builds the network of outer iteration k with the same initial weights as in a run."""
    with seeded(config.seed, "network", k):
        return factory()
