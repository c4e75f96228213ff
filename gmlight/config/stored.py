"""Runs commands with the configuration that is stored with a condensed set."""

import os
from collections.abc import Collection
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from gmlight.config.command_line import run_command
from gmlight.config.former_names import with_present_names
from gmlight.config.overrides import override_key
from gmlight.config.path_words import path_of
from gmlight.errors import ConfigError
from gmlight.runtime.paths import CONF_DIR

# Keys that commands on a set may change; the others belong to the run that made the set.
CHANGEABLE = {
    "run", "architecture", "augmentation", "evaluation", "holdout", "seed", "trainer", "data_dir", "download",
    "memory", "speed", "hydra",
}  # fmt: skip
CHOICES = ("architecture", "augmentation", "evaluation", "trainer")


def run_command_on_a_set(name: str, own_keys: Collection[str] = ()) -> None:
    """Runs a command on the condensed set that `run=` names, with the configuration stored in it.

    Args:
        name: of the command, as in `run_command`.
        own_keys: further keys that this command may set, besides `CHANGEABLE`.
    """

    def store(words: list[str]) -> list[str]:
        ConfigStore.instance().store("stored", stored_configuration(words, own_keys))
        return words

    run_command(name, store)


def stored_configuration(words: list[str], own_keys: Collection[str] = ()) -> dict[str, Any]:
    """Reads the configuration of the set that `run=` names, without the groups that the words choose.

    Args:
        words: of the command line.
        own_keys: further keys that the command may set, besides `CHANGEABLE`.

    Returns:
        The configuration as plain containers; empty if no set is needed, as for `--help`.

    Raises:
        ConfigError: no set is named, it cannot be read, or a word changes a key of the set's run.
    """
    overrides = [word for word in words if "=" in word and not word.startswith("-")]
    for override in overrides:
        key = override_key(override)
        if key != "dataset.root" and key.split(".")[0].split("/")[0] not in CHANGEABLE | set(own_keys):
            raise ConfigError(f"{override}: belongs to the run that made the set and cannot be changed")
    runs = [path_of(override) for override in overrides if override.startswith("run=")]
    if not runs:
        if any(word.startswith("-") for word in words):
            return {}  # such as --help
        raise ConfigError("name the set to use: run=<run folder or folder of a condensed set>")
    from gmlight.artifacts.condensed_set import CondensedDataset  # slow to import

    metadata = CondensedDataset(runs[-1]).metadata
    needed = {"config", "architecture", "complete", "method", "scale", "command", "created"}
    if missing := needed - metadata.keys():
        raise ConfigError(
            f"{runs[-1]}: its metadata lacks {', '.join(sorted(missing))}; use a set that gmlight.train wrote"
        )
    config = with_present_names(_with_integer_keys(metadata["config"]))
    chosen = {"trainer"} | {override_key(override) for override in overrides}
    for choice in CHOICES:
        if choice in chosen:
            del config[choice]
    config.setdefault("holdout", 0)  # older sets lack it
    _add_missing_keys(config["dataset"], metadata.get("choices", {}).get("dataset"))
    if "augmentation" in chosen and "evaluation" in config:  # it may set other epochs
        protocol = OmegaConf.load(CONF_DIR / "evaluation" / "paper.yaml")
        config["evaluation"]["epochs"] = OmegaConf.to_container(protocol)["epochs"]  # type: ignore
    # The data folder may differ between machines.
    config["data_dir"] = os.environ.get("GMLIGHT_DATA_DIR", config["data_dir"])
    return config


def _add_missing_keys(dataset: dict[str, Any], option: str | None) -> None:
    # Adds keys that older sets lack.
    path = CONF_DIR / "dataset" / f"{option}.yaml"
    if path.exists():
        node: Any = OmegaConf.to_container(OmegaConf.load(path))
        present = node.get("dataset", node)
        for key in ("evaluation_augmentation", "flip"):
            dataset.setdefault(key, present[key])


def _with_integer_keys(node: Any) -> Any:
    # JSON turns the integer keys of tables in conf/ into strings.
    if not isinstance(node, dict):
        return node
    return {int(key) if key.isdigit() else key: _with_integer_keys(value) for key, value in node.items()}
