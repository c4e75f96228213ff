"""Evaluates a condensed set: `python -m gmlight.evaluate run=<folder> architecture=mlp`."""

import os
import sys
import time
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from gmlight import build, results
from gmlight.artifact import CondensedDataset
from gmlight.callbacks import evaluate_sets
from gmlight.config import architecture_label, command, describe, override_key
from gmlight.data import CondensationData, LabelledImages
from gmlight.errors import ConfigError

# What an evaluation can change; all else belongs to the run that made the set.
CHANGEABLE = {
    "run", "architecture", "augmentation", "evaluation", "seed", "trainer", "data_dir", "download", "memory",
    "speed", "hydra",
}  # fmt: skip
CHOICES = ("architecture", "augmentation", "evaluation", "trainer")


def main() -> None:
    try:
        ConfigStore.instance().store("stored", stored_configuration(sys.argv[1:]))
    except ConfigError as error:
        sys.exit(f"gmlight: {error}")
    command(evaluate, "evaluate")


def evaluate(config: DictConfig, folder: Path) -> None:
    """Trains fresh networks on the set, prints the table and writes result.json."""
    console, record = results.new_console(), describe(config)
    condensed = CondensedDataset(config.run)
    made = condensed.metadata
    data = build.build_data(config)
    chosen = record["choices"]["architecture"] or made["architecture"]
    source = architecture_label(chosen, record["overrides"])
    compilation = build.build_compilation(config, console.print)
    evaluators = build.build_evaluators(config, data, source, compilation, console)
    device = build.build_trainer(config).strategy.root_device
    refuse_other_data(condensed, data.load(device))

    started = time.monotonic()
    images = LabelledImages(condensed.images, condensed.labels).to(device)
    name = "condensed" if made["complete"] else "condensed (incomplete)"
    sets = [(name, images, config.evaluation.networks), *build.build_baselines(config, data)]
    rows = evaluate_sets(evaluators, sets, console)
    record |= {
        "set": {key: made[key] for key in ("sha256", "method", "scale", "command", "created")},
        "seconds": {"evaluation": time.monotonic() - started},
        "environment": results.environment(device),
    }
    path = results.write(folder, rows, record)
    results.print_table(rows, made, console)
    results.print_path("result", path, console)


def stored_configuration(words: list[str]) -> dict[str, Any]:
    """The configuration that the artifact named by `run=` was made with, less what the words choose anew.

    Raises:
        ConfigError: no set is named, it cannot be read, or something is changed that belongs to the set.
    """
    overrides = [word for word in words if "=" in word and not word.startswith("-")]
    for override in overrides:
        key = override_key(override)
        if key != "dataset.root" and key.split(".")[0].split("/")[0] not in CHANGEABLE:
            raise ConfigError(
                f"{override}: belongs to the run that made the set, an evaluation cannot change it"
            )
    runs = [override.removeprefix("run=") for override in overrides if override.startswith("run=")]
    if not runs:
        if any(word.startswith("-") for word in words):
            return {}  # --help and its like
        raise ConfigError("name the set to evaluate: run=<run folder or folder of a condensed set>")
    metadata = CondensedDataset(runs[-1]).metadata
    missing = {
        "config",
        "architecture",
        "complete",
        "method",
        "scale",
        "command",
        "created",
    } - metadata.keys()
    if missing:
        raise ConfigError(
            f"{runs[-1]}: its metadata lacks {', '.join(sorted(missing))}; only a run's set is evaluated"
        )
    config = _with_whole_numbers_as_keys(metadata["config"])
    chosen = {"trainer"} | {override_key(override) for override in overrides}
    for choice in CHOICES:
        if choice in chosen:
            del config[choice]
    # The data may lie elsewhere on this machine.
    config["data_dir"] = os.environ.get("GMLIGHT_DATA_DIR", config["data_dir"])
    return config


def refuse_other_data(condensed: CondensedDataset, data: CondensationData) -> None:
    """A set can only be tested on the classes, images and normalisation that it was made for."""
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


if __name__ == "__main__":
    main()
