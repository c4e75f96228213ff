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
    """Measures both sides in turn, prints the table and writes benchmark.json."""
    paths = [folder / "benchmark.json", *([Path(config.json)] if config.json else [])]
    check_output_paths({"json": paths[-1]})
    console, called = new_console(), describe(config)
    record = called.as_dict()
    name, other = other_side(config)
    configs = {name: other, OURS: config}
    for of_side in configs.values():
        if of_side.iterations == 0:
            raise ConfigError("iterations=0: nothing is condensed that could be timed; use iterations>=1")
        of_side.logger = choose(of_side, "logger", "csv")  # no figure of a benchmark is sent anywhere
    device = build_trainer(config).strategy.root_device
    console.print(called.headline)
    with tempfile.TemporaryDirectory() as scratch:
        sides = {
            side: Side(of_side, side == "plain", Path(scratch) / str(i))
            for i, (side, of_side) in enumerate(configs.items())
        }
        try:
            record |= measure(sides, config.rounds, console)
        finally:
            for side in sides.values():
                side.close()
    record["environment"] = results.environment(device)
    record["run"] = {side: size_of_run(of_side) for side, of_side in configs.items()}
    print_table(record, console)
    for path in paths:
        path.write_text(json.dumps(record, indent=2) + "\n")
    print_path("result", paths[-1], console)


def other_side(config: DictConfig) -> tuple[str, DictConfig]:
    """Returns the name and the configuration of the side that gmlight is compared to."""
    if config.against == "plain":
        return "plain", config.copy()
    overrides = [f"{key}={value}" for key, value in config.against.items()]
    return ",".join(overrides), with_overrides(overrides)


def size_of_run(config: DictConfig) -> dict[str, int]:
    """Counts iterations, networks and epochs of a whole run."""
    protocol = config.evaluation
    return {"iterations": config.iterations, "networks": protocol.networks, "epochs": protocol.epochs}
