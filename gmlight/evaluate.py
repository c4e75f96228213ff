"""Evaluates a condensed set: `python -m gmlight.evaluate run=<folder> architecture=mlp`."""

import time
from pathlib import Path

from omegaconf import DictConfig

from gmlight import build, results
from gmlight.callbacks import evaluate_sets
from gmlight.config import describe
from gmlight.stored import command_on_a_set, open_set


def main() -> None:
    command_on_a_set(evaluate, "evaluate")


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
