"""Schedules: the number of network epochs between image updates."""

import functools

import pytest

from gmlight.builders.parts import build_schedule
from gmlight.condensation import schedules
from helpers.runs import composed


class Script:
    """Losses read from lists, one entry per measurement."""

    def __init__(self, real: list[float], synthetic: list[float] | None = None) -> None:
        self._real, self._synthetic = iter(real), iter(synthetic or [])

    def real(self) -> float:
        return next(self._real)

    def synthetic(self) -> float:
        return next(self._synthetic)


def epochs(schedule: schedules.Schedule, t: int, losses: Script | None = None) -> int:
    return sum(1 for _ in schedule(t, losses or Script([])))


def from_config(*overrides: str) -> tuple[schedules.Schedule, int]:
    config = composed("dataset=mnist", *overrides)
    return build_schedule(config), config.updates


@pytest.mark.parametrize(
    ("ipc", "fixed", "adaptive"), [(10, 450, 190), (50, 490, 395)], ids=["ipc 10", "ipc 50"]
)
def test_network_updates_of_an_outer_iteration(ipc: int, fixed: int, adaptive: int) -> None:
    for option, expected in (("fixed", fixed), ("adaptive", adaptive)):
        schedule, updates = from_config(f"ipc={ipc}", f"schedule={option}")
        assert sum(epochs(schedule, t) for t in range(updates - 1)) == expected


def test_equation_12() -> None:
    schedule, _ = from_config("ipc=50")
    assert [epochs(schedule, t) for t in range(12)] == [50, 40, 30, 20, 10, 10, 10, 10, 10, 10, 5, 5]


@pytest.mark.parametrize(
    ("ipc", "expected"),
    [(1, 1), (2, 50), (9, 50), (10, 50), (19, 50), (20, 25), (30, 20), (40, 15), (50, 10), (200, 10)],
)
def test_fixed_table(ipc: int, expected: int) -> None:
    schedule, updates = from_config(f"ipc={ipc}", "schedule=fixed")
    assert epochs(schedule, 0) == epochs(schedule, 7) == expected
    assert updates == min(ipc, 50)


def test_fixed_number() -> None:
    schedule, _ = from_config("schedule=fixed", "schedule.epochs=3")
    assert epochs(schedule, 0) == 3


def until(criterion: str, margin: float = 0.0, limit: int = 50) -> schedules.Schedule:
    return functools.partial(schedules.until_overfit, criterion=criterion, margin=margin, limit=limit)


def test_until_the_real_loss_rises() -> None:
    assert epochs(until("rise"), 0, Script([2.0, 1.5, 1.5, 1.6])) == 3
    assert epochs(until("rise"), 0, Script([2.0, 2.1])) == 1
    assert epochs(until("rise", limit=4), 0, Script([5.0, 4.0, 3.0, 2.0, 1.0])) == 4


def test_until_the_gap_exceeds_the_margin() -> None:
    assert epochs(until("gap", 0.5), 0, Script([2.0, 1.9, 1.8, 1.7], [1.8, 1.3, 1.1])) == 3
    assert epochs(until("gap", 9.0, limit=2), 0, Script([2.0, 1.9, 1.8], [0.0, 0.0])) == 2


def test_a_list_has_the_epochs_of_each_update() -> None:
    listed = functools.partial(schedules.table, epochs=[5, 3, 2])
    assert [epochs(listed, t) for t in range(3)] == [5, 3, 2]
