"""The configuration that is stored with a condensed set."""

import os
import sys
from collections.abc import Collection
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from gmlight.artifacts.condensed_set import CondensedDataset
from gmlight.config.command_line import Function, command
from gmlight.config.former_names import with_present_names
from gmlight.config.overrides import override_key
from gmlight.errors import ConfigError
from gmlight.runtime.paths import CONF_DIR

# What may be changed when a set is used; all else belongs to the run that made it.
CHANGEABLE = {
    "run", "architecture", "augmentation", "evaluation", "holdout", "seed", "trainer", "data_dir", "download",
    "memory", "speed", "hydra",
}  # fmt: skip
CHOICES = ("architecture", "augmentation", "evaluation", "trainer")


def command_on_a_set(function: Function, config_name: str, besides: Collection[str] = ()) -> None:
    """`command.command` for the set that `run=` names; besides: keys of the command's own."""
    try:
        ConfigStore.instance().store("stored", stored_configuration(sys.argv[1:], besides))
    except ConfigError as error:
        sys.exit(f"gmlight: {error}")
    command(function, config_name)


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
    config = with_present_names(_with_whole_numbers_as_keys(metadata["config"]))
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


def _with_whole_numbers_as_keys(node: Any) -> Any:
    # JSON has no keys but words; the tables of conf/ have whole numbers.
    if not isinstance(node, dict):
        return node
    return {
        int(key) if key.isdigit() else key: _with_whole_numbers_as_keys(value) for key, value in node.items()
    }
