"""Converts a condensed set of another program: `python -m gmlight.convert from=<file> dataset=cifar10`."""

import inspect
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict

from gmlight.artifacts import condensed_set, results
from gmlight.artifacts.conversion import Converted, Statistics
from gmlight.artifacts.conversion import convert as converted
from gmlight.artifacts.foreign_files import digest
from gmlight.artifacts.foreign_set import ForeignSet
from gmlight.artifacts.record import RunRecord
from gmlight.artifacts.run_folder import RunFolder
from gmlight.builders.published_set import build_info, decoding_factor, normalization_of, source_statistics
from gmlight.config.compose import choose, instantiate
from gmlight.config.labels import describe
from gmlight.config.overrides import override_key
from gmlight.data.images import DatasetInfo
from gmlight.errors import ConfigError
from gmlight.runtime.console import format_bytes, new_console, print_path

# Keys of this command; the others are those of the configuration with which the set is evaluated.
_OWN_KEYS = ("from", "to", "layout", "normalization", "factor", "soft_labels")


def convert(config: DictConfig, folder: Path) -> None:
    """Writes the converted set to the folder, and prints how it was understood.

    Args:
        config: of the command.
        folder: of the converted set.
    """
    console, source = new_console(), Path(config["from"])
    found = _read(config, source)
    info = build_info(config, found)
    statistics, factor = source_statistics(config, found, info), decoding_factor(config, found)
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
        f"normalization: {normalization_of(config, found)}; in the set mean {list(info.mean)}, "
        f"std {list(info.std)}"
    )
    print_path("set", folder, console)


def _read(config: DictConfig, source: Path) -> ForeignSet:
    reader = instantiate(config.layout)
    try:
        inspect.signature(reader).bind(source)
    except (TypeError, ValueError) as error:  # of a call, or of a partial call
        name = HydraConfig.get().runtime.choices["layout"]
        raise ConfigError(f"layout={name}: {error.__cause__ or error}; --help lists the keys") from None
    return reader(source)


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
