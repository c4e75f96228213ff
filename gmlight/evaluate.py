"""Evaluates a condensed set: `python -m gmlight.evaluate run=<folder> architecture=mlp`."""

import shlex
import sys
import time
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from gmlight import build, results
from gmlight.artifact import CondensedDataset
from gmlight.config import command, describe
from gmlight.data import CondensationData, LabelledImages
from gmlight.errors import ConfigError

# What an evaluation can change of the run that made the set; everything else would play no part.
CHANGEABLE = {
    "run", "architecture", "evaluation", "augmentation", "seed", "trainer", "data_dir", "download", "memory",
    "speed", "hydra",
}  # fmt: skip


def main() -> None:
    typed = sys.argv[1:]
    try:
        sys.argv[1:] = with_overrides_of_the_run(typed)
    except ConfigError as error:
        sys.exit(f"gmlight: {error}")
    command(lambda config, folder: evaluate(config, folder, typed), "evaluate")


def evaluate(config: DictConfig, folder: Path, typed: list[str]) -> None:
    """Trains fresh networks on the set, prints the table and writes result.json."""
    build.prepare_process(config)
    console = Console()
    record = describe(config) | {"command": shlex.join(["python", "-m", "gmlight.evaluate", *typed])}
    condensed = CondensedDataset(config.run)
    data = build.build_data(config)
    evaluator = build.build_evaluator(config, data)
    device = build.build_trainer(config).strategy.root_device
    refuse_other_data(condensed, data.load(device))

    started = time.monotonic()
    images = LabelledImages(condensed.images, condensed.labels).to(device)
    sets = {build.set_name(config, images): (images, config.evaluation.networks)} | build.build_baselines(
        config, data
    )
    rows = build.evaluate_sets(config, record, evaluator, sets, console)
    seconds = {"evaluation": time.monotonic() - started}
    path = results.write(
        folder, rows, record | {"seconds": seconds, "environment": results.environment(device)}
    )
    results.print_table(rows, record, console)
    results.print_path("result", path, console)


def with_overrides_of_the_run(typed: list[str]) -> list[str]:
    """The command line with the overrides of the run that made the set put before what was typed.

    Raises:
        ConfigError: no set is named, it cannot be read, or a key is changed that plays no part.
    """
    if any(word.startswith("-") and word not in ("-m", "--multirun") for word in typed):
        return typed  # --help and its like
    overrides = [word for word in typed if not word.startswith("-")]
    named = [word.removeprefix("run=") for word in overrides if word.startswith("run=")]
    if not named:
        raise ConfigError("name the set to evaluate: run=<run folder or folder of a condensed set>")
    for override in overrides:
        if _key(override).split(".")[0] not in CHANGEABLE:
            raise ConfigError(f"{override}: plays no part in an evaluation; leave it out")
    stored = CondensedDataset(named[-1]).metadata["overrides"]
    keys = [_key(override) for override in overrides]
    kept = [
        override
        for override in stored
        if not any(_key(override) == key or _key(override).startswith(f"{key}.") for key in keys)
    ]
    return kept + typed


def refuse_other_data(condensed: CondensedDataset, data: CondensationData) -> None:
    """A set can only be tested on the classes and the shape of image that it was made for."""
    if list(data.classes) != condensed.classes:
        raise ConfigError(f"the set's classes {condensed.classes} are not the dataset's {list(data.classes)}")
    shapes = tuple(condensed.images.shape[1:]), tuple(data.test.images.shape[1:])
    if shapes[0] != shapes[1]:
        raise ConfigError(
            f"the set's images are {shapes[0]}, the dataset's {shapes[1]} (channels, height, width)"
        )


def _key(override: str) -> str:
    return override.lstrip("+~").split("=")[0].split("@")[0]


if __name__ == "__main__":
    main()
