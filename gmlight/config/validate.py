"""Checks a configuration before parts are built from it."""

import math
from typing import Any

from omegaconf import DictConfig, ListConfig
from omegaconf.errors import OmegaConfBaseException

from gmlight.config.answers import answer, option_name
from gmlight.config.ranges import check_ranges
from gmlight.config.trainer_keys import check_effect, check_trainer
from gmlight.config.values import ABSENT, is_number, select
from gmlight.errors import ConfigError

_TRANSFORMS = ("color", "crop", "cutout", "flip", "scale", "rotate")  # of data/dsa.py


def check(config: DictConfig) -> None:
    """Refuses values that are out of range, and combinations of values and choices that do not work.

    Raises:
        ConfigError: names the key, its value and what to set instead.
    """
    try:
        check_ranges(config)
        check_trainer(config.trainer)
        check_effect(config)
        _check_schedule(config)
        _check_class_weights(config)
        _check_logging(config)
        _check_architectures(config)
        _check_dataset(config)
        _check_augmentation(config)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{getattr(error, 'full_key', '')}: {str(error).splitlines()[0]}") from None
    _check_against(config)
    _check_combinations(config)


def _check_against(config: DictConfig) -> None:
    against = select(config, "against")
    if against is not ABSENT and against != "plain" and not (isinstance(against, DictConfig) and against):
        raise ConfigError(f"against={against}: must be plain, or overrides such as {{schedule:fixed}}")


def _check_combinations(config: DictConfig) -> None:
    if "pool" in config and config.pool.least > config.pool.most:
        raise ConfigError(f"pool.least={config.pool.least}: must be at most pool.most={config.pool.most}")
    decoded = not answer(config.synthetic, "stores_pixels")
    if decoded and config.iterations == 0:
        raise ConfigError("iterations=0: nothing is learned; use synthetic=pixels, or iterations>=1")
    if decoded and answer(config.initialization, "needs_pixels"):
        raise ConfigError("initialization=artifact: its images are pixels; use synthetic=pixels")
    by_class = "sampling" in config and answer(config.sampling, "needs_class_batches")
    if by_class and select(config, "matching.mixed_real") not in (ABSENT, 0):
        name = option_name(config.sampling)
        raise ConfigError(f"sampling={name}: cannot draw mixed batches; use matching.mixed_real=0")
    if select(config, "multi_size") is True:
        if select(config, "matching.mixed_real") not in (ABSENT, 0):
            raise ConfigError("multi_size=true: mixed batches have no prefixes; use matching.mixed_real=0")
        if not answer(config.synthetic, "has_prefixes"):
            raise ConfigError(
                "multi_size=true: this form has no images of its own for each size; use synthetic=pixels or "
                "multi_formation"
            )
    if config.iterations == 0 and answer(config.initialization, "draws_noise"):
        raise ConfigError("iterations=0: noise would be evaluated; use iterations>=1 or initialization=real")


def _check_logging(config: DictConfig) -> None:
    every = select(config, "diagnose_every")
    if every is not ABSENT and every % config.log_every:
        raise ConfigError(f"diagnose_every={every}: must be 0 or a multiple of log_every={config.log_every}")


def _check_schedule(config: DictConfig) -> None:
    epochs = select(config, "schedule.epochs")
    counts = [] if epochs is ABSENT else [epochs]
    if isinstance(epochs, DictConfig):
        counts = list(epochs.values())
        start = config.ipc if "ipc" in config.schedule else 0
        if not any(isinstance(entry, int) and entry <= start for entry in epochs):
            raise ConfigError(f"schedule.epochs={epochs}: must have an entry at {start} or below")
    elif isinstance(epochs, ListConfig):
        counts = list(epochs)
        needed = config.updates - 1
        if len(epochs) < needed:
            raise ConfigError(f"schedule.epochs={epochs}: T={config.updates} needs {needed} entries or more")
    elif answer(config.schedule, "needs_list"):
        raise ConfigError(f"schedule.epochs={epochs}: a table is a list such as [50,40,30]")
    for count in counts:
        if type(count) is not int or count < 0:
            raise ConfigError(f"schedule.epochs={epochs}: must be whole numbers of at least 0")
    if "criterion" in config.schedule and config.mixed_batch == 0:
        raise ConfigError(
            "mixed_batch=0: this schedule measures the loss on mixed real images; use mixed_batch=256"
        )


def _check_class_weights(config: DictConfig) -> None:
    weights = select(config, "matching.class_weights")
    if weights is not ABSENT and weights != "equal" and config.matching.get("mixed_real"):
        raise ConfigError(
            f"matching.class_weights={weights}: a mixed batch has no class weights; use equal, or "
            "matching.mixed_real=0"
        )
    if weights is ABSENT or weights in ("equal", "priors", "batch"):
        return
    classes = len(config.dataset.classes)
    numbers = isinstance(weights, ListConfig) and all(map(is_number, weights)) and len(weights) == classes
    if not numbers or min(weights) < 0 or not math.isclose(sum(weights), 1, abs_tol=1e-6):
        raise ConfigError(
            f"matching.class_weights={weights}: must be equal, priors, batch, "
            f"or a list of {classes} numbers that sum to 1"
        )


def _check_dataset(config: DictConfig) -> None:
    dataset = config.dataset
    size = dataset.size
    whole = isinstance(size, ListConfig) and len(size) == 2 and all(type(n) is int and n > 0 for n in size)
    if not whole:
        raise ConfigError(f"dataset.size={size}: must be [height, width]")
    if dataset.channels not in (1, 3):
        raise ConfigError(f"dataset.channels={dataset.channels}: must be 1 or 3")
    for key in ("mean", "std"):
        values = dataset[key]
        numbers = isinstance(values, ListConfig) and all(map(is_number, values))
        if values is not None and not (numbers and len(values) == dataset.channels):
            raise ConfigError(f"dataset.{key}={values}: must be null or a number for each channel")


def _check_architectures(config: DictConfig) -> None:
    names = select(config, "evaluation.architectures")
    listed = isinstance(names, ListConfig) and len(names) and all(isinstance(name, str) for name in names)
    if names is not None and not listed:
        raise ConfigError(f"evaluation.architectures={names}: must be null or a list such as [convnet,mlp]")


def _check_transforms(config: DictConfig, key: str) -> None:
    entries, chained = config.augmentation[key], "matched" in config.augmentation
    named: list[Any] = []
    for entry in entries if isinstance(entries, ListConfig) else []:
        named += list(entry) if chained and isinstance(entry, ListConfig) else [entry]
    drawn = [name for name in named if name != "flip" or config.augmentation.flip]
    if not drawn or not all(name in _TRANSFORMS for name in named):
        words, lists = ",".join(_TRANSFORMS), ", or lists of them" if chained else ""
        raise ConfigError(f"augmentation.{key}={entries}: must be some of [{words}]{lists}")


def _check_augmentation(config: DictConfig) -> None:
    scale, transforms = select(config, "augmentation.scale"), select(config, "augmentation.transforms")
    if transforms is not ABSENT:
        for key in ("transforms", "matched"):
            if key in config.augmentation:
                _check_transforms(config, key)
        if not (is_number(scale) and scale >= 1):
            raise ConfigError(f"augmentation.scale={scale}: must be a number of at least 1")
        return
    if scale is ABSENT:
        return
    numbers = isinstance(scale, ListConfig) and all(map(is_number, scale)) and len(scale) == 2
    if not numbers or not 0 < scale[0] <= scale[1]:
        raise ConfigError(f"augmentation.scale={scale}: must be [least, greatest], both above 0")
