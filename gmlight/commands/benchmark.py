"""Times gmlight against the plain loop: `python -m gmlight.benchmark dataset=cifar10 ipc=1`."""

import json
import tempfile
from pathlib import Path

from omegaconf import DictConfig

from gmlight.artifacts import results
from gmlight.benchmarking.table import OURS, measure, print_table
from gmlight.benchmarking.workers import Side
from gmlight.builders.trainer import build_trainer
from gmlight.config.compose import choose, with_overrides
from gmlight.config.labels import describe
from gmlight.errors import ConfigError
from gmlight.runtime.console import check_output_paths, new_console, print_path


def benchmark(config: DictConfig, folder: Path) -> None:
    """Measures both sides in turn, prints the table and writes benchmark.json.

    Args:
        config: of gmlight.benchmark.
        folder: gets benchmark.json.

    Raises:
        ConfigError: a side cannot be measured, or an output file exists already.
    """
    paths = [folder / "benchmark.json", *([Path(config.json)] if config.json else [])]
    check_output_paths({"json": paths[-1]})
    console, called = new_console(), describe(config)
    record = called.as_dict()
    name, other = other_side(config)
    configs = {name: other, OURS: config}
    for side_config in configs.values():
        if side_config.iterations == 0:
            raise ConfigError(
                "iterations=0: nothing is condensed, so nothing can be timed; use iterations>=1"
            )
        side_config.logger = choose(side_config, "logger", "csv")  # never logs to online services
    device = build_trainer(config).strategy.root_device
    console.print(called.headline)
    with tempfile.TemporaryDirectory() as scratch:
        sides = {
            side: Side(side_config, side == "plain", Path(scratch) / str(i))
            for i, (side, side_config) in enumerate(configs.items())
        }
        try:
            record |= measure(sides, config.rounds, console)
        finally:
            for side in sides.values():
                side.close()
    record["environment"] = results.environment(device)
    record["run"] = {side: run_sizes(side_config) for side, side_config in configs.items()}
    print_table(record, console)
    for path in paths:
        path.write_text(json.dumps(record, indent=2) + "\n")
    print_path("result", paths[-1], console)


def other_side(config: DictConfig) -> tuple[str, DictConfig]:
    """Returns the name and the configuration of the other side of the comparison."""
    if config.against == "plain":
        return "plain", config.copy()
    overrides = [f"{key}={value}" for key, value in config.against.items()]
    return ",".join(overrides), with_overrides(overrides)


def run_sizes(config: DictConfig) -> dict[str, int]:
    """Returns the numbers of iterations, evaluation networks and epochs of a whole run."""
    protocol = config.evaluation
    return {"iterations": config.iterations, "networks": protocol.networks, "epochs": protocol.epochs}
