"""Analyzes training on a condensed set: `python -m gmlight.analyze run=<folder>`."""

import statistics
import time
from dataclasses import asdict
from pathlib import Path

from omegaconf import DictConfig
from rich import box
from rich.console import Console
from rich.table import Table

from gmlight.artifacts import results
from gmlight.artifacts.record import headline
from gmlight.builders.stored_set import open_set
from gmlight.config.labels import describe_use
from gmlight.data.images import LabelledImages
from gmlight.reporting.dynamics import Point, logarithmic, trajectory
from gmlight.reporting.figures import plot_trajectory, save
from gmlight.runtime.console import new_console, print_path
from gmlight.runtime.progress import show_progress
from gmlight.runtime.seeding import generator

SHOWN = 8  # points in the printed table


def analyze(config: DictConfig, folder: Path) -> None:
    """Trains fresh networks on the set; writes and draws what their gradients and losses do (Figure 2)."""
    console, called = new_console(), describe_use(config)
    stored = open_set(config, called, console)
    started = time.monotonic()
    rng = generator(config.seed, "analyzed-images")
    real = LabelledImages(*stored.data.train.draw_mixed(config.real_images, rng))
    for architecture, evaluator in stored.evaluators.items():
        epochs = logarithmic(evaluator.protocol.epochs, config.points)
        networks, wanted = [], config.evaluation.networks
        doing = f"analyzing {stored.name} on {architecture}"
        with show_progress(doing, "network", wanted, console) as progress:
            for member in range(wanted):
                networks.append(list(trajectory(evaluator, stored.images, real, member, epochs)))
                progress(member + 1)
        title = f"{headline(stored.made)}, {architecture}, n = {len(networks)}"
        _print_points(title, networks, console)
        name = "trajectory" if len(stored.evaluators) == 1 else f"trajectory-{architecture.split(' ')[0]}"
        picture = save(plot_trajectory(title, networks), folder / name)
        points = [[asdict(point) for point in of_network] for of_network in networks]
        about = {
            "set": results.origin(stored.made),
            "target": architecture,
            "networks": points,
            "seconds": {"analysis": time.monotonic() - started},
            "environment": results.environment(stored.device),
        }
        path = results.write_json(folder / f"{name}.json", called.as_dict() | about)
        print_path("picture", picture, console)
        print_path("points", path, console)


def _print_points(title: str, networks: list[list[Point]], console: Console) -> None:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_style="bold", title_justify="left")
    for heading in ("epoch", "|grad S|", "|grad T|", "angle", "loss S", "loss T"):
        table.add_column(heading, justify="right")
    steps = range(len(networks[0]))
    for i in steps[:: max(1, len(steps) // SHOWN)]:
        points = [asdict(of_network[i]) for of_network in networks]
        means = [statistics.fmean(point[name] for point in points) for name in points[0] if name != "epoch"]
        table.add_row(str(points[0]["epoch"]), *(f"{mean:.4g}" for mean in means))
    console.print(table)
    console.print("means over networks; S: the set, T: real images; angle in degrees, losses in nats")
