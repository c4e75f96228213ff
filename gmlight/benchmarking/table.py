"""Measures two sides in turn, and prints the table that compares them."""

import statistics
from collections.abc import Callable
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from gmlight.benchmarking.workers import Measurement, Side
from gmlight.runtime.console import format_duration
from gmlight.runtime.profiling import PARTS

OURS = "gmlight"
TEST_ROUNDS = 3


def measure(sides: dict[str, Side], rounds: int, console: Console) -> dict[str, Any]:
    """Measures iterations and tests of the sides in turn, then profiles; the first of each kind is warm-up.

    Args:
        sides: worker processes, by name.
        rounds: measured iterations per side.
        console: gets a line per round.

    Returns:
        Measurements by kind, then by side.
    """
    for side in sides.values():
        side.ask("iteration")
    iterations: dict[str, list[Measurement]] = {name: [] for name in sides}
    for number in range(rounds):
        for name, side in sides.items():
            iterations[name].append(side.ask("iteration"))
        times = ", ".join(f"{name} {done[-1]['seconds']:.3g} s" for name, done in iterations.items())
        console.print(f"iteration {number + 1}/{rounds}  {times}")
    tests: dict[str, list[Measurement]] = {name: [] for name in sides}
    for number in range(1 + TEST_ROUNDS):
        for name, side in sides.items():
            measured = side.ask("test")
            if number:
                tests[name].append(measured)
    return {
        "iterations": iterations,
        "tests": tests,
        "profiles": {name: side.ask("profile") for name, side in sides.items()},
        "operations": {name: side.ask("operations") for name, side in sides.items()},
        "settings": {name: side.ask("settings") for name, side in sides.items() if name != "plain"},
        "evaluation": {name: side.ask("evaluation") for name, side in sides.items() if name != "plain"},
        "convolution_peak": sides[OURS].ask("peak"),
    }


def speedups(record: dict[str, Any], kind: str = "iterations") -> list[float]:
    """Divides the other side's seconds by gmlight's, round by round.

    Args:
        record: content of benchmark.json.
        kind: `iterations` or `tests`.
    """
    (other,) = record[kind].keys() - {OURS}
    pairs = zip(record[kind][other], record[kind][OURS], strict=True)
    return [theirs["seconds"] / ours["seconds"] for theirs, ours in pairs]


def iteration_flops(record: dict[str, Any], name: str) -> int:
    """Counts the floating-point operations of one outer iteration of a side."""
    iteration, operations = record["iterations"][name][0], record["operations"][name]
    return (
        iteration["real_images"] * operations["real"]
        + iteration["synthetic_images"] * operations["synthetic"]
        + iteration["trained_images"] * operations["training"]
    )


def table_rows(record: dict[str, Any]) -> list[tuple[str, Callable[[str], str]]]:
    """Lists the rows of the table: a heading, and a function from a side's name to the cell's text."""
    peak = record["convolution_peak"]["gflops"]
    images = record["tests"][OURS][0]["images"]
    run = record["run"]

    def seconds(name: str, kind: str = "iterations") -> list[float]:
        return [measured["seconds"] for measured in record[kind][name]]

    def rate(name: str) -> float:
        return iteration_flops(record, name) / statistics.median(seconds(name)) / 1e9

    def part(heading: str) -> tuple[str, Callable[[str], str]]:
        return f"  {heading}", lambda name: f"{share(record['profiles'][name], heading):.1%}"

    def evaluation(name: str) -> str:
        if name not in record["evaluation"]:
            return ""
        timed = record["evaluation"][name]
        training = timed["seconds"] / timed["networks"] / timed["epochs"] * run[name]["epochs"]
        return format_duration(run[name]["networks"] * (training + statistics.median(seconds(name, "tests"))))

    return [
        ("outer iteration, s", lambda name: _spread(seconds(name))),
        ("  speedup", lambda name: _spread(speedups(record)) if name == OURS else "1"),
        (
            "  real images per second",
            lambda name: (
                f"{record['iterations'][name][0]['real_images'] / statistics.median(seconds(name)):,.0f}"
            ),
        ),
        ("  GFLOP/s", lambda name: f"{rate(name):,.0f}"),
        (f"  share of a float32 peak of {peak:,.0f}", lambda name: f"{rate(name) / peak:.0%}"),
        ("  memory, GiB", lambda name: _gibi(record["profiles"][name]["memory"])),
        *map(part, (*PARTS, "other")),
        (f"{images:,} test images, s", lambda name: _spread(seconds(name, "tests"))),
        ("  speedup", lambda name: _spread(speedups(record, "tests")) if name == OURS else "1"),
        (
            f"condensing, K={run[OURS]['iterations']:,}",
            lambda name: format_duration(run[name]["iterations"] * statistics.median(seconds(name))),
        ),
        (f"evaluating, n={run[OURS]['networks']}", evaluation),
    ]


def share(profile: Measurement, part: str) -> float:
    """Returns a part's share of an iteration's seconds, in 0..1.

    Args:
        profile: measurement of an iteration with its parts.
        part: one of `PARTS`; or `other`, the rest, such as draws and logging.
    """
    parts = profile["parts"]
    seconds = profile["seconds"] - sum(parts.values()) if part == "other" else parts.get(part, 0.0)
    return seconds / profile["seconds"]


def print_table(record: dict[str, Any], console: Console) -> None:
    """Prints medians with minimum and maximum in brackets, then the settings of the gradients.

    Args:
        record: content of benchmark.json.
        console: where to print.
    """
    names = list(record["iterations"])
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right", max_width=28)
    for heading, cell in table_rows(record):
        table.add_row(heading, *map(cell, names))
    console.print(table)
    for name, settings in record["settings"].items():
        for line in (*map(_in_words, settings["engine"]), *settings["notes"]):
            console.print(f"{name}: {line}")


def _in_words(settings: dict[str, Any]) -> str:
    words = [
        f"gradients on {settings['gradients']} images in microbatches of {settings['microbatch']}",
        f"classes at once: {settings['classes_per_block']}",
        settings["precision"],
        "compiled" if settings["compiled"] else "not compiled",
    ]
    return ", ".join(words)


def _spread(values: list[float]) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.3g} ({low:.3g}–{high:.3g})"  # noqa: RUF001


def _gibi(size: int | None) -> str:
    return "unknown" if size is None else f"{size / 2**30:.3g}"
