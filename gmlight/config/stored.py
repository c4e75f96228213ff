"""Runs commands with the configuration that is stored with a condensed set."""

import os
import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from gmlight.artifacts.hub_names import is_hub_name
from gmlight.artifacts.run_folder import RunFolder
from gmlight.config.command_line import run_command
from gmlight.config.former_names import with_present_names
from gmlight.config.literal import literal
from gmlight.config.overrides import override_key, quote_if_needed
from gmlight.config.path_words import path_of, typed_text
from gmlight.config.trust import Trust, with_trust_as_list
from gmlight.config.values import built_in_dataset
from gmlight.errors import ConfigError
from gmlight.runtime.console import relative_path
from gmlight.runtime.paths import CONF_DIR
from gmlight.runtime.rank import is_main

if TYPE_CHECKING:
    from gmlight.artifacts.condensed_set import CondensedDataset

# Keys that commands on a set may change; the others belong to the run that made the set.
CHANGEABLE = {
    "run", "architecture", "augmentation", "evaluation", "holdout", "seed", "trainer", "data_dir", "download",
    "memory", "speed", "trust", "hydra",
}  # fmt: skip
_PLACES = ("dataset.root", "dataset.path")  # of images, which may differ between machines
CHOICES = ("architecture", "augmentation", "evaluation", "trainer")
_NEEDED = {"config", "architecture", "complete", "method", "scale", "command", "created"}
_NEEDED_KEYS = {
    "architecture", "augmentation", "data_dir", "dataset", "distance", "download", "evaluation", "ipc",
    "iterations", "matching", "memory", "mixed_batch", "real_batch", "schedule", "scale", "seed", "speed",
    "statistics_batch", "updates",
}  # fmt: skip


def run_command_on_a_set(
    name: str,
    own_keys: Collection[str] = (),
    *,
    replaced: Collection[str] = (),
    configuration: bool = True,
) -> None:
    """Runs a command on the condensed set that `run=` names, with the configuration stored in it.

    Args:
        name: of the command, as in `run_command`.
        own_keys: further keys that this command may set, besides `CHANGEABLE`.
        replaced: stored keys that give way to the command's own.
        configuration: whether the command needs the stored configuration; otherwise it is not looked at.
    """

    def store(words: list[str]) -> list[str]:
        words, stored = with_trust_as_list(_with_kept_sets(words)), {"speed": {"allocator": "auto"}}
        if configuration:
            stored = stored_configuration(words, own_keys)
            for key in replaced:
                stored.pop(key, None)
        else:
            _named_set(words)
        ConfigStore.instance().store("stored", stored)
        return words

    run_command(name, store)


def _with_kept_sets(words: list[str]) -> list[str]:
    # Replaces a set on the hub by its copy in runs/hub, where the command may write its results.
    return [f"run={_kept(word, words)}" if _is_on_the_hub(word) else word for word in words]


def _is_on_the_hub(word: str) -> bool:
    return word.startswith("run=") and is_hub_name(typed_text(word))


def _kept(word: str, words: Sequence[str]) -> str:
    from gmlight.artifacts.hub import download, keep  # slow to import

    folder = keep(download(typed_text(word), ask="download=false" not in words))
    if is_main():
        print(f"{typed_text(word)} is kept in {relative_path(folder)}")
    return quote_if_needed(str(folder))


def stored_configuration(words: list[str], own_keys: Collection[str] = ()) -> dict[str, Any]:
    """Reads the configuration of the set that `run=` names, without the groups that the words choose.

    The configuration may be a stranger's: it is compared with what conf/ and the words can build.

    Args:
        words: of the command line.
        own_keys: further keys that the command may set, besides `CHANGEABLE`.

    Returns:
        The configuration as plain containers, its text in literal form; empty if no set is needed, as for
        `--help`.

    Raises:
        ConfigError: no set is named, it cannot be read, a word changes a key of the set's run, or the
            configuration names something that is not known.
    """
    overrides = [word for word in words if "=" in word and not word.startswith("-")]
    for override in overrides:
        key = override_key(override)
        root = key.split(".")[0].split("/")[0]
        if key not in _PLACES and root not in CHANGEABLE | set(own_keys):
            raise ConfigError(f"{override}: belongs to the run that made the set and cannot be changed")
    condensed = _named_set(words)
    if condensed is None:
        return {}
    config = _checked(condensed, Trust.of(words))
    chosen = {"trainer"} | {override_key(override) for override in overrides}
    for choice in CHOICES:
        if choice in chosen:
            config.pop(choice, None)
    for key in ("cells", "trust"):  # the configuration has the cells' values; a file trusts nobody
        config.pop(key, None)
    config.setdefault("holdout", 0)  # older sets lack it
    _add_missing_keys(config["dataset"], condensed.metadata.get("choices", {}).get("dataset"))
    if "augmentation" in chosen and "evaluation" in config:  # it may set other epochs
        protocol = OmegaConf.load(CONF_DIR / "evaluation" / "paper.yaml")
        config["evaluation"]["epochs"] = OmegaConf.to_container(protocol)["epochs"]  # type: ignore
    # The data folder may differ between machines.
    config["data_dir"] = os.environ.get("GMLIGHT_DATA_DIR", config["data_dir"])
    return config


def _named_set(words: Sequence[str]) -> "CondensedDataset | None":
    # None if no set is needed, as for `--help`.
    runs = [path_of(word) for word in words if word.startswith("run=")]
    if not runs:
        if any(word.startswith("-") for word in words):
            return None
        raise ConfigError("name the set to use: run=<run folder or folder of a condensed set>")
    from gmlight.artifacts.condensed_set import CondensedDataset  # slow to import

    condensed = CondensedDataset(runs[-1])
    RunFolder(condensed.path).refuse_linked_outputs()
    return condensed


def _checked(condensed: "CondensedDataset", trust: Trust) -> dict[str, Any]:
    # Returns the configuration with its text in literal form.
    metadata, source = condensed.metadata, f"{condensed.path}: its stored configuration"
    if missing := _NEEDED - metadata.keys():
        raise ConfigError(
            f"{condensed.path}: its metadata lacks {', '.join(sorted(missing))}; use a set that "
            "gmlight.train wrote"
        )
    try:
        config = with_present_names(_with_integer_keys(metadata["config"]))
    except RecursionError:
        raise ConfigError(f"{source} is nested too deeply; do not use it") from None
    trust.check(config, source)
    if missing := _NEEDED_KEYS - config.keys():
        raise ConfigError(f"{source} lacks {', '.join(sorted(missing))}; use a set that gmlight.train wrote")
    channels, *size = condensed.images.shape[1:]
    if config["dataset"].get("channels") != channels or config["dataset"].get("size") != size:
        raise ConfigError(f"{source}: dataset.channels and dataset.size are not those of the images")
    return literal(config)


def _add_missing_keys(dataset: dict[str, Any], option: str | None) -> None:
    # Adds keys that older sets lack; a set may not rename the classes of a built-in dataset.
    path = CONF_DIR / "dataset" / f"{option}.yaml"
    if path in CONF_DIR.glob("dataset/*.yaml"):  # not one elsewhere, which a file may name
        present = built_in_dataset(path.stem)
        for key in ("evaluation_augmentation", "flip", "occlusion"):
            dataset.setdefault(key, present[key])
        names, load = present["load"].get("names"), dataset.get("load")
        if names and isinstance(load, dict) and load.setdefault("names", names) != names:
            raise ConfigError(
                f"run: the stored dataset.load.names are not those of {option}; do not use the set"
            )


def _with_integer_keys(node: Any) -> Any:
    # JSON turns the integer keys of tables in conf/ into strings.
    if not isinstance(node, dict):
        return node
    return {
        int(key) if re.fullmatch("[0-9]{1,9}", key) else key: _with_integer_keys(value)
        for key, value in node.items()
    }
