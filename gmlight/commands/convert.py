"""Converts a condensed set of another program: `python -m gmlight.convert from=<file> dataset=cifar10`."""

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from gmlight.artifacts import condensed_set, results
from gmlight.artifacts.conversion import Converted, Statistics
from gmlight.artifacts.conversion import convert as converted
from gmlight.artifacts.foreign_files import digest
from gmlight.artifacts.foreign_set import ForeignSet
from gmlight.artifacts.record import RunRecord
from gmlight.artifacts.run_folder import RunFolder
from gmlight.config.compose import choose, instantiate
from gmlight.config.implied import is_built_in
from gmlight.config.labels import describe
from gmlight.config.literal import class_names
from gmlight.config.overrides import override_key
from gmlight.data.images import DatasetInfo
from gmlight.errors import ConfigError
from gmlight.runtime.console import format_bytes, new_console, print_path

# Keys of this command; the others are those of the configuration with which the set is evaluated.
_OWN_KEYS = ("from", "to", "layout", "normalization", "factor", "soft_labels")
_ZCA = (
    "normalization=zca: networks would have to be tested on whitened images, which gmlight does not make; "
    "undo it by zca.inverse_transform, normalise the pixels, and use normalization=dataset"
)


def convert(config: DictConfig, folder: Path) -> None:
    """Writes the converted set to the folder, and prints how it was understood.

    Args:
        config: of the command.
        folder: of the converted set.
    """
    console, source = new_console(), Path(config["from"])
    if config.soft_labels not in ("probabilities", "logits"):
        raise ConfigError(f"soft_labels={config.soft_labels}: must be probabilities or logits")
    found: ForeignSet = instantiate(config.layout)(source)
    info = _info(config, found)
    statistics, factor = _source_statistics(config, found, info), _factor(config, found)
    made = converted(found, info, statistics, factor=factor, logits=config.soft_labels == "logits")
    record = _record(config, found, info, made, factor)
    metadata = {
        "complete": True,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "environment": results.environment(torch.device("cpu")),
        **record.as_dict(),
        "converted": _origin(config, found, statistics, source, factor),
    }
    condensed_set.write(RunFolder(folder).condensed, made.images, info, metadata, stored=made.stored)
    console.print(
        f"{found.layout}: {len(made.images)} images of {len(info.classes)} classes, "
        f"{format_bytes(4 * made.images.floats)}"
        + ("" if made.images.soft_labels is None else ", with soft labels")
    )
    console.print(
        f"normalization: {_normalization(config, found)}, mean {info.mean}, std {info.std} in the set"
    )
    print_path("set", folder, console)


def _info(config: DictConfig, found: ForeignSet) -> DatasetInfo:
    # Of the converted set; a dataset whose mean and std are computed takes those that the files state.
    dataset, classes = config.dataset, class_names(config)
    assert classes is not None, "Job completes the configuration"
    mean, std = (dataset[key] if dataset[key] is not None else getattr(found, key) for key in ("mean", "std"))
    if mean is None or std is None:
        raise ConfigError(
            "dataset.mean, dataset.std: are computed from images, which are not read here; give both as lists"
        )
    statistics = Statistics(tuple(mean), tuple(std))
    priors = (1 / len(classes),) * len(classes)
    shape = (dataset.channels, *dataset.size)
    return DatasetInfo(tuple(classes), statistics.mean, statistics.std, shape, priors)


def _normalization(config: DictConfig, found: ForeignSet) -> Any:
    # `none` for 8-bit pixels; else the user's word, the files' or the layout's.
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


def _source_statistics(config: DictConfig, found: ForeignSet, info: DatasetInfo) -> Statistics:
    name = _normalization(config, found)
    if isinstance(name, DictConfig) and set(name) == {"mean", "std"}:
        values = [OmegaConf.to_container(name[key]) if OmegaConf.is_list(name[key]) else [] for key in name]
        return Statistics(*map(tuple, values))  # type: ignore[arg-type]
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


def _factor(config: DictConfig, found: ForeignSet) -> int:
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


def _record(
    config: DictConfig, found: ForeignSet, info: DatasetInfo, made: Converted, factor: int
) -> RunRecord:
    # Describes a run on the dataset, whose configuration gmlight.evaluate takes.
    typed = {override_key(word) for word in HydraConfig.get().overrides.task}
    if "ipc" in typed and config.ipc != made.ipc:
        raise ConfigError(f"ipc={config.ipc}: the set has {made.ipc} images per class; leave it out")
    run = config.copy()
    with open_dict(run):
        for key in _OWN_KEYS:
            run.pop(key)
        run.ipc = made.ipc
        run.dataset.mean, run.dataset.std = list(info.mean), list(info.std)
        if factor > 1:
            run.synthetic = choose(config, "synthetic", "multi_formation")
            run.synthetic.factor = factor
    record = describe(run)
    choices = record.choices | ({"synthetic": "multi_formation"} if factor > 1 else {})
    return replace(record, method="converted", departures=[f"converted from {found.layout}"], choices=choices)


def _origin(
    config: DictConfig, found: ForeignSet, statistics: Statistics, source: Path, factor: int
) -> dict[str, Any]:
    root = source if source.is_dir() else source.parent
    soft = found.labels.ndim == 2 or found.soft_labels is not None
    return {
        "layout": found.layout,
        "files": len(found.files),
        "sha256": digest(found.files, root),
        "mean": list(statistics.mean),
        "std": list(statistics.std),
        "factor": factor,
        "soft_labels": config.soft_labels if soft else None,
        **found.notes,
    }
