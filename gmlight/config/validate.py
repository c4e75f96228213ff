"""What the values of the configuration may be."""

import math
from typing import Any, NoReturn

from omegaconf import DictConfig, ListConfig
from omegaconf.errors import OmegaConfBaseException

from gmlight.config.answers import answer
from gmlight.config.trainer_keys import check_trainer
from gmlight.errors import ConfigError

_LEAST = {  # whole numbers
    "ipc": 1,
    "iterations": 0,
    "updates": 1,
    "image_steps": 1,
    "real_batch": 1,
    "mixed_batch": 0,
    "statistics_batch": 1,
    "train_batch": 1,
    "seed": 0,
    "log_every": 1,
    "diagnose_every": 0,
    "rounds": 1,
    "points": 2,
    "compare": 0,
    "dataset.number": 2,
    "dataset.images": 1,
    "real_images": 1,
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
    "sampling.steps": 0,
    "synthetic.factor": 1,
    "synthetic.images": 1,
    "architecture.width": 1,
    "architecture.depth": 1,
    "augmentation.evaluation_epochs": 1,
    "augmentation.padding": 1,
    "augmentation.degrees": 1,
}
_AUTO = (
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
)
_NOT_NEGATIVE = (
    "augmentation.brightness",
    "augmentation.contrast",
    "augmentation.rotate",
    "augmentation.saturation",
    "augmentation.noise",
    "evaluation.weight_decay",
    "schedule.margin",
    "initialization.weight_decay",
)
_FRACTIONS = (
    "image_momentum",
    "network_momentum",
    "evaluation.momentum",
    "initialization.momentum",
    "holdout",
)
_SHARES = ("augmentation.crop", "augmentation.cutout", "augmentation.flip", "evaluation.cutmix")
_TRANSFORMS = ("color", "crop", "cutout", "flip", "scale", "rotate")  # of siamese.py
_ONE_OF = {
    "network_images": ("synthetic", "real"),
    "initialization.features": ("network", "pixels"),
    "schedule.criterion": ("rise", "gap"),
    "schedule.unit": ("epochs", "steps"),
    "evaluation.batch_norm": ("instance", "batch"),
    "dry_run": (True, False),
    "speed.allocator": ("auto", "off"),
    "speed.compile": (True, False, "auto"),
    "speed.precision": ("float32", "tf32", "bfloat16"),
}
_ABSENT = object()


def check(config: DictConfig) -> None:
    """Refuses values out of range.

    Raises:
        ConfigError: names the key, its value and what it may be.
    """
    try:
        _check_ranges(config)
        check_trainer(config.trainer)
        _check_schedule(config)
        _check_class_weights(config)
        _check_logging(config)
        _check_architectures(config)
        _check_dataset(config)
        _check_augmentation(config)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{getattr(error, 'full_key', '')}: {str(error).splitlines()[0]}") from None
    against = _select(config, "against")
    if against is not _ABSENT and against != "plain" and not (isinstance(against, DictConfig) and against):
        raise ConfigError(f"against={against}: must be plain or other choices, {{schedule:fixed}}")
    _check_beyond(config)
    if config.iterations == 0 and answer(config.initialization, "draws_noise"):
        raise ConfigError(
            "iterations=0: noise would be left as it is; use iterations>=1 or initialization=real"
        )


def _check_beyond(config: DictConfig) -> None:
    formed = not answer(config.synthetic, "stores_pixels")
    if formed and config.iterations == 0:
        raise ConfigError("iterations=0: nothing is learned; use synthetic=pixels, or iterations>=1")
    if formed and answer(config.initialization, "needs_pixels"):
        raise ConfigError("initialization=artifact: its images are pixels; use synthetic=pixels")
    by_class = "sampling" in config and answer(config.sampling, "needs_class_batches")
    if by_class and _select(config, "matching.mixed_real") not in (_ABSENT, 0):
        raise ConfigError(
            "sampling=representative: has batches of each class, not mixed ones; use matching.mixed_real=0"
        )


def _check_logging(config: DictConfig) -> None:
    every = _select(config, "diagnose_every")
    if every is not _ABSENT and every % config.log_every:
        raise ConfigError(
            f"diagnose_every={every}: must be a multiple of log_every={config.log_every}, where metrics are "
            "written, or 0"
        )


def _check_ranges(config: DictConfig) -> None:
    def refuse(key: str, value: Any, must: str) -> NoReturn:
        raise ConfigError(f"{key}={value}: must be {must}")

    for key, least in _LEAST.items():
        value = _select(config, key)
        if value is not _ABSENT and (type(value) is not int or value < least):
            refuse(key, value, f"a whole number of at least {least}")
    for key in _AUTO:
        value = _select(config, key)
        if value is not _ABSENT and value != "auto" and (type(value) is not int or value < 1):
            refuse(key, value, "auto or a whole number of at least 1")
    for key in (*_POSITIVE, "matching.inter_weight"):
        value = _select(config, key)
        if value is None and key == "matching.inter_weight":  # the number of classes
            continue
        if value is not _ABSENT and not (_is_number(value) and value > 0):
            refuse(key, value, "a number above 0")
    for key in _NOT_NEGATIVE:
        value = _select(config, key)
        if value is not _ABSENT and not (_is_number(value) and value >= 0):
            refuse(key, value, "a number of at least 0")
    for key in _FRACTIONS:
        value = _select(config, key)
        if value is not _ABSENT and not (_is_number(value) and 0 <= value < 1):
            refuse(key, value, "a number from 0 up to, not including, 1")
    for key in _SHARES:
        value = _select(config, key)
        if value is not _ABSENT and not (_is_number(value) and 0 <= value <= 1):
            refuse(key, value, "a number from 0 to 1")
    for key, names in _ONE_OF.items():
        value = _select(config, key)
        if value is not _ABSENT and value not in names:
            words = [str(name).lower() if isinstance(name, bool) else str(name) for name in names]
            refuse(key, value, " or ".join(words))


def _check_schedule(config: DictConfig) -> None:
    epochs = _select(config, "schedule.epochs")
    counts = [] if epochs is _ABSENT else [epochs]
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
    weights = _select(config, "matching.class_weights")
    if weights is not _ABSENT and weights != "equal" and config.matching.get("mixed_real"):
        raise ConfigError(
            f"matching.class_weights={weights}: a mixed batch weighs itself; use equal, or mixed_real=0"
        )
    if weights is _ABSENT or weights in ("equal", "priors", "batch"):
        return
    classes = len(config.dataset.classes)
    numbers = isinstance(weights, ListConfig) and all(map(_is_number, weights)) and len(weights) == classes
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
        numbers = isinstance(values, ListConfig) and all(map(_is_number, values))
        if values is not None and not (numbers and len(values) == dataset.channels):
            raise ConfigError(f"dataset.{key}={values}: must be null or a number for each channel")


def _check_architectures(config: DictConfig) -> None:
    names = _select(config, "evaluation.architectures")
    if names is not None and not (isinstance(names, ListConfig) and len(names)):
        raise ConfigError(f"evaluation.architectures={names}: must be null or a list such as [convnet,mlp]")


def _check_augmentation(config: DictConfig) -> None:
    scale, transforms = _select(config, "augmentation.scale"), _select(config, "augmentation.transforms")
    if transforms is not _ABSENT:
        named = list(transforms) if isinstance(transforms, ListConfig) else []
        drawn = [name for name in named if name != "flip" or config.augmentation.flip]
        if not drawn or not set(named) <= set(_TRANSFORMS):
            words = ",".join(_TRANSFORMS)
            raise ConfigError(f"augmentation.transforms={transforms}: must be some of [{words}]")
        if not (_is_number(scale) and scale >= 1):
            raise ConfigError(f"augmentation.scale={scale}: must be a number of at least 1")
        return
    if scale is _ABSENT:
        return
    numbers = isinstance(scale, ListConfig) and all(map(_is_number, scale)) and len(scale) == 2
    if not numbers or not 0 < scale[0] <= scale[1]:
        raise ConfigError(f"augmentation.scale={scale}: must be [least, greatest], both above 0")


def _select(config: DictConfig, key: str) -> Any:
    # Absent is another thing than null: only an option that has the key is asked for its value.
    node, _, last = key.rpartition(".")
    parent: Any = config
    for name in filter(None, node.split(".")):
        if name not in parent:  # a configuration from before there was such a group
            return _ABSENT
        parent = parent[name]
        if not isinstance(parent, DictConfig):
            break
    if not isinstance(parent, DictConfig):
        raise ConfigError(f"{node}={parent}: must be a group of keys, such as {key}=...")
    if last not in parent:
        return _ABSENT
    return parent[last]


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
