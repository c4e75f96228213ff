"""Checks the value of each key against its range."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from omegaconf import DictConfig, ListConfig

from gmlight.config.values import ABSENT, is_number, select
from gmlight.errors import ConfigError

_WHOLE_NUMBERS = {  # key: minimum
    "ipc": 1,
    "iterations": 0,
    "updates": 1,
    "image_steps": 1,
    "real_batch": 1,
    "mixed_batch": 0,
    "statistics_batch": 1,
    "train_batch": 1,
    "synthetic_batch": 0,
    "pool.networks": 1,
    "seed": 0,
    "log_every": 1,
    "diagnose_every": 0,
    "rounds": 1,
    "points": 2,
    "compare": 0,
    "networks": 1,
    "reference.epochs": 1,
    "budget_epochs": 1,
    "jobs": 1,
    "steps": 2,
    "orders": 1,
    "part": 0,
    "parts": 1,
    "space.draws": 0,
    "dataset.load.split_seed": 0,
    "dataset.number": 2,
    "dataset.images": 1,
    "real_images": 1,
    "layout.experiment": 0,
    "checkpoint.every": 1,
    "evaluation.networks": 1,
    "evaluation.epochs": 1,
    "evaluation.batch_size": 1,
    "evaluation.every": 0,
    "evaluation.quick_networks": 1,
    "evaluation.baselines.random": 0,
    "evaluation.baselines.whole": 0,
    "schedule.limit": 1,
    "matching.mixed_real": 0,
    "matching.mixed_synthetic": 1,
    "initialization.epochs": 1,
    "initialization.batch_size": 1,
    "initialization.network.width": 1,
    "sampling.every": 1,
    "sampling.nearest": 1,
    "sampling.networks": 1,
    "sampling.candidates": 0,
    "sampling.steps": 0,
    "synthetic.factor": 1,
    "synthetic.images": 1,
    "architecture.width": 1,
    "architecture.depth": 1,
    "augmentation.evaluation_epochs": 1,
    "augmentation.padding": 1,
    "augmentation.degrees": 1,
}
_AUTO_OR_COUNT = (
    "speed.microbatch",
    "speed.classes_per_block",
    "memory.classes_per_chunk",
    "evaluation.test_batch",
    "evaluation.networks_at_once",
)
_POSITIVE = (
    "image_lr",
    "network_lr",
    "evaluation.lr",
    "distance.weight",
    "checkpoint.minutes",
    "memory.device_share",
    "initialization.lr",
    "evaluation.fall",
    "pool.epochs",
    "distillation.temperature",
)
_NOT_NEGATIVE = (
    "augmentation.brightness",
    "augmentation.contrast",
    "augmentation.rotate",
    "augmentation.saturation",
    "augmentation.noise",
    "evaluation.weight_decay",
    "network_weight_decay",
    "pool.least",
    "distillation.weight",
    "pool.most",
    "schedule.margin",
    "initialization.weight_decay",
)
_FRACTIONS = (
    "image_momentum",
    "network_momentum",
    "evaluation.momentum",
    "initialization.momentum",
    "holdout",
    "sampling.drop",
    "image_lr_warmup",
)
_PROBABILITIES = (
    "augmentation.crop",
    "augmentation.cutout",
    "augmentation.flip",
    "evaluation.cutmix",
    "network_cutmix",
)
_ONE_OF = {
    "network_images": ("synthetic", "real"),
    "network_start": ("fresh", "pool"),
    "image_lr_decay": ("none", "linear", "cosine"),
    "clip_images": (True, False),
    "multi_size": (True, False),
    "soft_labels": ("probabilities", "logits"),
    "matching.step": ("all", "class"),
    "initialization.features": ("network", "pixels"),
    "dataset.fit": ("squash", "crop", "pad"),
    "dataset.skip_unreadable": (True, False),
    "dataset.cache": (True, False),
    "schedule.criterion": ("rise", "gap"),
    "schedule.unit": ("epochs", "steps"),
    "evaluation.batch_norm": ("instance", "batch"),
    "dry_run": (True, False),
    "frontier": (True, False),
    "push_private": (True, False),
    "push_update": (True, False),
    "budget": (True, False),
    "carry": (True, False),
    "proxies.random": (True, False),
    "proxies.herding": (True, False),
    "proxies.early_stop": (True, False),
    "speed.allocator": ("auto", "off"),
    "speed.compile": (True, False, "auto"),
    "speed.precision": ("float32", "tf32", "bfloat16"),
    "speed.network_precision": ("float32", "bfloat16"),
    "evaluation.precision": ("float32", "bfloat16"),
}
Allows = Callable[[Any], bool]


def check_ranges(config: DictConfig) -> None:
    """Refuses a value outside its key's range.

    Raises:
        ConfigError: names the key, its value and the range.
    """
    for key, must_be, allows in _rules():
        value = select(config, key)
        if value is not ABSENT and not allows(value):
            raise ConfigError(f"{key}={value}: must be {must_be}")


def _rules() -> Iterator[tuple[str, str, Allows]]:
    # Yields (key, range in words, function that tests a value).
    for key, least in _WHOLE_NUMBERS.items():
        yield key, f"a whole number of at least {least}, below 2^63", _whole_number(least)
    yield (
        "dataset.load.test_share",
        "a number above 0 and below 1",
        lambda value: is_number(value) and 0 < value < 1,
    )
    yield "dataset.name", "a name", lambda value: isinstance(value, str) and bool(value.strip())
    for key in _AUTO_OR_COUNT:
        yield key, "auto or a whole number of at least 1", _is_auto_or_count
    for key in _POSITIVE:
        yield key, "a number above 0", _is_positive
    # None stands for the number of classes.
    yield "matching.inter_weight", "a number above 0", lambda value: value is None or _is_positive(value)
    shares = "a list of shares above 0 and below 1, in rising order"
    yield "evaluation.falls", shares, _are_rising_shares
    layers = "all, conv, or a share above 0 and up to 1"
    yield "matching.layers", layers, lambda value: value in ("all", "conv") or _is_share(value)
    for key in _NOT_NEGATIVE:
        yield key, "a number of at least 0", lambda value: is_number(value) and value >= 0
    for key in _FRACTIONS:
        yield key, "a number from 0 up to, not including, 1", _is_fraction
    for key in _PROBABILITIES:
        yield key, "a number from 0 to 1", lambda value: is_number(value) and 0 <= value <= 1
    for key, options in _ONE_OF.items():
        words = [str(option).lower() if isinstance(option, bool) else str(option) for option in options]
        yield key, " or ".join(words), options.__contains__


def _whole_number(least: int) -> Allows:
    return lambda value: type(value) is int and least <= value < 2**63


def _is_auto_or_count(value: Any) -> bool:
    return value == "auto" or _whole_number(1)(value)


def _is_fraction(value: Any) -> bool:
    return is_number(value) and 0 <= value < 1


def _is_share(value: Any) -> bool:
    return is_number(value) and 0 < value <= 1


def _are_rising_shares(value: Any) -> bool:
    if not isinstance(value, list | ListConfig) or not all(is_number(share) for share in value):
        return False
    bounds = [0, *value, 1]
    return all(before < after for before, after in itertools.pairwise(bounds))


def _is_positive(value: Any) -> bool:
    return is_number(value) and value > 0
