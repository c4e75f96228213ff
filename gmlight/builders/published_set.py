"""Builds what the conversion of a published set needs: its dataset, its normalisation, its decoding."""

from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from gmlight.artifacts.conversion import Statistics
from gmlight.artifacts.foreign_set import ForeignSet
from gmlight.config.compose import choose
from gmlight.config.implied import is_built_in
from gmlight.config.literal import class_names
from gmlight.data.images import DatasetInfo
from gmlight.errors import ConfigError

_ZCA = (
    "normalization=zca: networks would have to be tested on whitened images, which gmlight does not make; "
    "undo it by zca.inverse_transform, normalise the pixels, and use normalization=dataset"
)


def build_info(config: DictConfig, found: ForeignSet) -> DatasetInfo:
    """Builds the description of the converted set: that of its dataset.

    Args:
        config: of the command, completed.
        found: the published set; its mean and std stand in for those that are computed from images.

    Raises:
        ConfigError: mean and std are not known without the images.
    """
    dataset, classes = config.dataset, class_names(config)
    assert classes is not None, "Job completes the configuration"
    mean, std = (dataset[key] if dataset[key] is not None else getattr(found, key) for key in ("mean", "std"))
    if mean is None or std is None:
        raise ConfigError(
            "dataset.mean, dataset.std: are computed from images, which are not read here; give both as lists"
        )
    statistics = Statistics(tuple(mean), tuple(std))
    if len(statistics.mean) != dataset.channels:
        raise ConfigError(
            f"mean: the files state {len(statistics.mean)} values, for {dataset.channels} channels"
        )
    priors = (1 / len(classes),) * len(classes)
    shape = (dataset.channels, *dataset.size)
    return DatasetInfo(tuple(classes), statistics.mean, statistics.std, shape, priors)


def source_statistics(config: DictConfig, found: ForeignSet, info: DatasetInfo) -> Statistics:
    """Returns the mean and std with which the published images are normalised.

    Args:
        config: of the command.
        found: the published set.
        info: of the converted set.

    Raises:
        ConfigError: the normalisation is not known, or cannot be undone.
    """
    name = normalization_of(config, found)
    if isinstance(name, DictConfig) and set(name) == {"mean", "std"}:
        values = (name[key] if OmegaConf.is_list(name[key]) else () for key in ("mean", "std"))
        return Statistics(*map(tuple, values))
    if name == "none":
        return Statistics.of_pixels(info.shape[0])
    if name == "stated":
        return Statistics(tuple(found.mean or ()), tuple(found.std or ()))
    if name == "dataset":
        return Statistics(info.mean, info.std)
    if name == "dc":
        option = f"{HydraConfig.get().runtime.choices['dataset']}_dc"
        if not is_built_in("dataset", option):
            return Statistics(info.mean, info.std)
        node = choose(config, "dataset", option)
        return Statistics(tuple(node.mean), tuple(node.std))
    if name == "zca":
        raise ConfigError(_ZCA)
    raise ConfigError(f"normalization={name}: must be dataset, dc, none, zca, or {{mean:[...],std:[...]}}")


def normalization_of(config: DictConfig, found: ForeignSet) -> Any:
    """Returns the normalisation of the published images: `none` for 8-bit pixels; else typed or the layout's.

    Args:
        config: of the command.
        found: the published set.

    Returns:
        A name, or a node with mean and std.

    Raises:
        ConfigError: it is not known.
    """
    chosen = config.normalization
    if found.images.dtype == torch.uint8:
        if chosen not in (None, "none"):
            raise ConfigError(f"normalization={chosen}: the images are 8-bit pixels; leave it out")
        return "none"
    if chosen is None and found.normalization is None:
        raise ConfigError(
            f"normalization: {found.layout} does not say how its images are normalised; add normalization=dc "
            "(MTT without --zca), dataset, none, or {mean:[...],std:[...]}"
        )
    return found.normalization if chosen is None else chosen


def decoding_factor(config: DictConfig, found: ForeignSet) -> int:
    """Returns the number of parts along each side into which each published image is cut; 1: it is not cut.

    Args:
        config: of the command.
        found: the published set.

    Raises:
        ConfigError: it is not known, or out of range.
    """
    if config.factor is None:
        if not found.decoded:
            raise ConfigError(
                f"factor: {found.layout} does not say how its images are decoded; add factor=2, which IDC "
                "and DREAM use on CIFAR-10, or factor=1 for IDC-I"
            )
        return 1
    if type(config.factor) is not int or not 1 <= config.factor <= min(config.dataset.size):
        raise ConfigError(
            f"factor={config.factor}: must be a whole number of at least 1, at most the image size"
        )
    return config.factor
