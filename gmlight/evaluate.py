"""Evaluates a condensed set: `python -m gmlight.evaluate run=<folder> architecture=mlp`."""

import sys
import time
from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from gmlight import build, results
from gmlight.callbacks import evaluate_sets
from gmlight.config import command, describe
from gmlight.errors import ConfigError
from gmlight.stored import open_set, stored_configuration


def main() -> None:
    try:
        ConfigStore.instance().store("stored", stored_configuration(sys.argv[1:]))
    except ConfigError as error:
        sys.exit(f"gmlight: {error}")
    command(evaluate, "evaluate")


def evaluate(config: DictConfig, folder: Path) -> None:
    """Trains fresh networks on the set, prints the table and writes result.json."""
    console, record = results.new_console(), describe(config)
    stored = open_set(config, record, console)
    started = time.monotonic()
    sets = [
        (stored.name, stored.images, config.evaluation.networks),
        *build.build_baselines(config, stored.data),
    ]
    rows = evaluate_sets(stored.evaluators, sets, console)
    record |= {
        "set": results.origin(stored.made),
        "seconds": {"evaluation": time.monotonic() - started},
        "environment": results.environment(stored.device),
    }
    path = results.write(folder, rows, record)
    results.print_table(rows, stored.made, console)
    results.print_path("result", path, console)


if __name__ == "__main__":
    main()
