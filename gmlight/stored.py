"""A condensed set that a run has left, with the configuration and the data that it was made with."""

import os
import sys
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from gmlight import build
from gmlight.artifact import CondensedDataset
from gmlight.command import Function, command
from gmlight.config import CONF_DIR, architecture_label, override_key
from gmlight.data import CondensationData, LabelledImages
from gmlight.errors import ConfigError
from gmlight.evaluation import Evaluator

# What may be changed when a set is used; all else belongs to the run that made it.
CHANGEABLE = {
    "run", "architecture", "augmentation", "evaluation", "holdout", "seed", "trainer", "data_dir", "download",
    "memory", "speed", "hydra",
}  # fmt: skip
CHOICES = ("architecture", "augmentation", "evaluation", "trainer")


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


def command_on_a_set(function: Function, config_name: str, besides: Collection[str] = ()) -> None:
    """`command.command` for the set that `run=` names; besides: keys of the command's own."""
    try:
        ConfigStore.instance().store("stored", stored_configuration(sys.argv[1:], besides))
    except ConfigError as error:
        sys.exit(f"gmlight: {error}")
    command(function, config_name)


def open_set(config: DictConfig, record: dict[str, Any], console: Console) -> StoredSet:
    """Loads config.run's set and its dataset, and refuses one that does not fit the other.

    Args:
        record: of `config.describe`.
    """
    # An augmentation chooses it for those who condense.
    record["choices"].pop("initialization")
    condensed = CondensedDataset(config.run)
    made = condensed.metadata
    own = made["config"].get("holdout", 0)
    if config.holdout not in (0, own):
        raise ConfigError(f"holdout={config.holdout}: the set was made with holdout={own}; use that, or 0")
    if config.holdout:
        console.print(f"tested on the {config.holdout:.0%} of the training images that were held out")
    data = build.build_data(config)
    chosen = record["choices"]["architecture"] or made["architecture"]
    source = architecture_label(chosen, record["overrides"])
    compilation = build.build_compilation(config, console.print)
    evaluators = build.build_evaluators(config, data, source, compilation, console)
    trainer = build.build_trainer(config)
    if trainer.world_size > 1:
        raise ConfigError("trainer.devices: a set is evaluated by one process; use trainer=auto")
    device = trainer.strategy.root_device
    _refuse_other_data(condensed, data.load(device))
    name = "condensed" if made["complete"] else "condensed (incomplete)"
    images = LabelledImages.of(condensed).to(device)
    return StoredSet(made, name, images, data, evaluators, device)


def stored_configuration(words: list[str], besides: Collection[str] = ()) -> dict[str, Any]:
    """The configuration that the artifact named by `run=` was made with, less what the words choose anew.

    Args:
        besides: keys of the command's own that may be changed as well.

    Raises:
        ConfigError: no set is named, it cannot be read, or something is changed that belongs to the set.
    """
    overrides = [word for word in words if "=" in word and not word.startswith("-")]
    for override in overrides:
        key = override_key(override)
        if key != "dataset.root" and key.split(".")[0].split("/")[0] not in CHANGEABLE | set(besides):
            raise ConfigError(f"{override}: belongs to the run that made the set, it cannot be changed now")
    runs = [override.removeprefix("run=") for override in overrides if override.startswith("run=")]
    if not runs:
        if any(word.startswith("-") for word in words):
            return {}  # --help and its like
        raise ConfigError("name the set to use: run=<run folder or folder of a condensed set>")
    metadata = CondensedDataset(runs[-1]).metadata
    needed = {"config", "architecture", "complete", "method", "scale", "command", "created"}
    if missing := needed - metadata.keys():
        raise ConfigError(
            f"{runs[-1]}: its metadata lacks {', '.join(sorted(missing))}; only a run's set can be used"
        )
    config = _with_whole_numbers_as_keys(metadata["config"])
    chosen = {"trainer"} | {override_key(override) for override in overrides}
    for choice in CHOICES:
        if choice in chosen:
            del config[choice]
    config.setdefault("holdout", 0)  # a key that older sets lack
    _complete(config["dataset"], metadata.get("choices", {}).get("dataset"))
    if "augmentation" in chosen and "evaluation" in config:  # which has a say in the epochs
        protocol = OmegaConf.load(CONF_DIR / "evaluation" / "paper.yaml")
        config["evaluation"]["epochs"] = OmegaConf.to_container(protocol)["epochs"]  # type: ignore
    # The data may lie elsewhere on this machine.
    config["data_dir"] = os.environ.get("GMLIGHT_DATA_DIR", config["data_dir"])
    return config


def _complete(dataset: dict[str, Any], option: str | None) -> None:
    # What an older set does not say of its dataset: whether a mirrored image is one of its class, say.
    path = CONF_DIR / "dataset" / f"{option}.yaml"
    if path.exists():
        node: Any = OmegaConf.to_container(OmegaConf.load(path))
        known = node.get("dataset", node)
        for key in ("evaluation_augmentation", "flip"):
            dataset.setdefault(key, known[key])


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


def _with_whole_numbers_as_keys(node: Any) -> Any:
    # JSON has no keys but words; the tables of conf/ have whole numbers.
    if not isinstance(node, dict):
        return node
    return {
        int(key) if key.isdigit() else key: _with_whole_numbers_as_keys(value) for key, value in node.items()
    }
