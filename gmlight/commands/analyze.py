"""Analyzes training on a condensed set: `python -m gmlight.analyze run=<folder>`."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from omegaconf import DictConfig
from rich import box
from rich.console import Console
from rich.table import Table

from gmlight.artifacts import results
from gmlight.artifacts.inert import file_name
from gmlight.artifacts.record import headline
from gmlight.builders.stored_set import StoredSet, open_set
from gmlight.config.labels import describe_use
from gmlight.data.images import LabelledImages
from gmlight.reporting.dynamics import Point, logarithmic_epochs, trajectory
from gmlight.reporting.figures import plot_trajectory, save_figure
from gmlight.runtime.console import new_console, print_path
from gmlight.runtime.progress import show_progress
from gmlight.runtime.seeding import generator

PRINTED_POINTS = 8


def analyze(config: DictConfig, folder: Path) -> None:
    """Measures gradients and losses of fresh networks while they train on the set (Figure 2).

    Args:
        config: of the command.
        folder: gets a JSON file of points and a figure for each architecture.
    """
    console, invocation = new_console(), describe_use(config)
    stored = open_set(config, invocation, console)
    started = time.monotonic()
    rng = generator(config.seed, "analyzed-images")
    real = LabelledImages(*stored.data.train.draw_mixed(config.real_images, rng))
    for architecture in stored.evaluators:
        networks = measure_networks(stored, architecture, real, config, console)
        title = f"{headline(stored.metadata)}, {architecture}, n = {len(networks)}"
        print_points(title, networks, console)
        name = "trajectory" if len(stored.evaluators) == 1 else f"trajectory-{architecture.split(' ')[0]}"
        name = file_name(name)
        picture = save_figure(plot_trajectory(title, networks), folder / name)
        measured = {
            "set": results.origin(stored.metadata),
            "target": architecture,
            "networks": [[asdict(point) for point in points] for points in networks],
            "seconds": {"analysis": time.monotonic() - started},
            "environment": results.environment(stored.device),
        }
        path = results.write_json(folder / f"{name}.json", invocation.as_dict() | measured)
        print_path("picture", picture, console)
        print_path("points", path, console)


def measure_networks(
    stored: StoredSet, architecture: str, real: LabelledImages, config: DictConfig, console: Console
) -> list[list[Point]]:
    """Trains networks of one architecture on the set, and measures them at logarithmically spaced epochs.

    Args:
        stored: the set and its evaluators.
        architecture: a key of the evaluators.
        real: real images to measure on.
        config: of the command.
        console: shows the progress.

    Returns:
        The points of each network.
    """
    evaluator, wanted = stored.evaluators[architecture], config.evaluation.networks
    epochs = logarithmic_epochs(evaluator.protocol.epochs, config.points)
    networks = []
    with show_progress(f"analyzing {stored.name} on {architecture}", "network", wanted, console) as progress:
        for member in range(wanted):
            networks.append(list(trajectory(evaluator, stored.images, real, member, epochs)))
            progress(member + 1)
    return networks


def print_points(title: str, networks: Sequence[Sequence[Point]], console: Console) -> None:
    """Prints the means over networks at about `PRINTED_POINTS` of the epochs.

    Args:
        title: of the table.
        networks: the points of each network, at the same epochs.
        console: where to print.
    """
    table = Table(title=title, box=box.SIMPLE_HEAD, title_style="bold", title_justify="left")
    for heading in ("epoch", "|grad S|", "|grad T|", "angle", "loss S", "loss T"):
        table.add_column(heading, justify="right")
    rows = list(zip(*networks, strict=True))  # the points of all networks at each epoch
    for row in rows[:: max(1, len(rows) // PRINTED_POINTS)]:
        points = [asdict(point) for point in row]
        means = [statistics.fmean(point[name] for point in points) for name in points[0] if name != "epoch"]
        table.add_row(str(row[0].epoch), *(f"{mean:.4g}" for mean in means))
    console.print(table)
    console.print("means over networks; S: condensed set, T: real images; angle in degrees, losses in nats")
