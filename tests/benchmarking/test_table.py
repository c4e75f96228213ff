"""The benchmark's table, by hand: speedups, operations, shares and predictions."""

import io
from typing import Any, ClassVar

from rich.console import Console

from gmlight.benchmarking.table import _in_words, iteration_flops, measure, share, speedups, table_rows

RECORD: dict[str, Any] = {
    "iterations": {
        "plain": [
            {"seconds": 8.0, "real_images": 100, "synthetic_images": 20, "trained_images": 50},
            {"seconds": 9.0}, {"seconds": 10.0},
        ],
        "gmlight": [
            {"seconds": 2.0, "real_images": 100, "synthetic_images": 30, "trained_images": 70},
            {"seconds": 3.0}, {"seconds": 4.0},
        ],
    },
    "tests": {"plain": [{"seconds": 6.0, "images": 360}], "gmlight": [{"seconds": 1.5, "images": 360}]},
    "operations": {
        "plain": {"real": 10**7, "synthetic": 10**8, "training": 10**6, "testing": 1},
        "gmlight": {"real": 10**7, "synthetic": 10**8, "training": 10**6, "testing": 1},
    },
    "profiles": {
        "plain": {"seconds": 10.0, "memory": None, "parts": {"real gradients": 4.0}},
        "gmlight": {
            "seconds": 4.0, "memory": 2**29, "parts": {"real gradients": 1.0, "network": 2.0},
        },
    },
    "evaluation": {"gmlight": {"seconds": 12.0, "networks": 3, "epochs": 4}},
    "convolution_peak": {"gflops": 10.0},
    "run": {
        "plain": {"iterations": 100, "networks": 20, "epochs": 50},
        "gmlight": {"iterations": 100, "networks": 20, "epochs": 50},
    },
}  # fmt: skip


class CountingSide:
    """Answers each task with its name and how many tasks came before, over both sides."""

    asked: ClassVar[list[tuple[str, str]]] = []

    def __init__(self, name: str) -> None:
        self.name = name

    def ask(self, task: str) -> dict[str, Any]:
        self.asked.append((self.name, task))
        return {"seconds": float(len(self.asked)), "task": task, "side": self.name}


def test_the_sides_take_turns_after_a_warm_up() -> None:
    CountingSide.asked.clear()
    page = io.StringIO()
    sides: Any = {name: CountingSide(name) for name in ("gmlight", "plain")}
    record = measure(sides, 2, Console(file=page, width=200))
    both = ["gmlight", "plain"]
    assert CountingSide.asked[:14] == [
        (name, task) for task in ["iteration"] * 3 + ["test"] * 4 for name in both
    ]
    times = {name: [each["seconds"] for each in done] for name, done in record["iterations"].items()}
    assert times == {"gmlight": [3.0, 5.0], "plain": [4.0, 6.0]}
    times = {name: [each["seconds"] for each in done] for name, done in record["tests"].items()}
    assert times == {"gmlight": [9.0, 11.0, 13.0], "plain": [10.0, 12.0, 14.0]}
    for kind, task in (("profiles", "profile"), ("operations", "operations")):
        assert {name: (done["side"], done["task"]) for name, done in record[kind].items()} == {
            name: (name, task) for name in both
        }
    assert record["settings"].keys() == record["evaluation"].keys() == {"gmlight"}
    assert (record["convolution_peak"]["side"], record["convolution_peak"]["task"]) == ("gmlight", "peak")
    assert page.getvalue().splitlines() == [
        "iteration 1/2  gmlight 3 s, plain 4 s", "iteration 2/2  gmlight 5 s, plain 6 s",
    ]  # fmt: skip


def test_speedups_are_theirs_by_ours() -> None:
    assert speedups(RECORD) == [4.0, 3.0, 2.5]
    assert speedups(RECORD, "tests") == [4.0]


def test_operations_of_an_iteration() -> None:
    assert iteration_flops(RECORD, "plain") == 100 * 10**7 + 20 * 10**8 + 50 * 10**6
    assert iteration_flops(RECORD, "gmlight") == 100 * 10**7 + 30 * 10**8 + 70 * 10**6


def test_shares_of_the_parts() -> None:
    profile = RECORD["profiles"]["gmlight"]
    parts = ("real gradients", "network", "distance", "other")
    assert [share(profile, part) for part in parts] == [0.25, 0.5, 0.0, 0.25]


def test_settings_in_words() -> None:
    settings = {"gradients": "real", "microbatch": 8, "classes_per_block": 2, "precision": "tf32"}
    line = "gradients on real images in microbatches of 8, classes at once: 2, tf32, "
    assert _in_words(settings | {"compiled": True}) == line + "compiled"
    assert _in_words(settings | {"compiled": False}) == line + "not compiled"


def test_rows() -> None:
    """Medians; 20 networks of 50 epochs at 1 s an epoch, and 1.5 s for each test."""
    pairs = [(heading.strip(), (cell("plain"), cell("gmlight"))) for heading, cell in table_rows(RECORD)]
    rows = dict(pairs)
    # Of the iterations, then of the tests.
    speedups_shown = [row for heading, row in pairs if heading == "speedup"]
    assert speedups_shown == [("1", "3 (2.5–4)"), ("1", "4 (4–4)")]  # noqa: RUF001
    assert rows["outer iteration, s"] == ("9 (8–10)", "3 (2–4)")  # noqa: RUF001
    assert rows["real images per second"] == ("11", "33")
    assert rows["memory, GiB"] == ("unknown", "0.5")
    assert rows["share of a float32 peak of 10"] == ("3%", "14%")  # 0.339 and 1.357 GFLOP/s
    assert rows["real gradients"] == ("40.0%", "25.0%")
    assert rows["condensing, K=100"] == ("0:15:00", "0:05:00")
    assert rows["evaluating, n=20"] == ("", "0:17:10")
