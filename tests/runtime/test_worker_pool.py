"""Worker processes: results, errors, and processes that die."""

import os
import signal
from collections.abc import Callable

import pytest
import torch

from gmlight.errors import ConfigError
from gmlight.runtime.worker_pool import Died, work_in_processes


def make(settings: int) -> Callable[[int], tuple[int, int, int]]:
    made = [0]

    def work(unit: int) -> tuple[int, int, int]:
        if unit < 0:
            os.kill(os.getpid(), -unit)
        if unit == 100:
            raise ConfigError("unit=100: not allowed")
        if unit == 200:
            raise ZeroDivisionError
        made[0] += 1
        return settings * unit, os.getpid(), torch.get_num_threads()

    return work


def test_units_are_shared_out_among_processes_with_their_threads() -> None:
    torch.set_num_threads(2)
    found = dict(work_in_processes(make, 10, range(6), jobs=2))
    values = {unit: result[0] for unit, result in found.items() if not isinstance(result, Died)}
    assert values == {unit: 10 * unit for unit in range(6)}
    processes = {result[1] for result in found.values() if not isinstance(result, Died)}
    assert 1 <= len(processes) <= 2
    assert os.getpid() not in processes
    assert {result[2] for result in found.values() if not isinstance(result, Died)} == {1}


def test_a_process_that_dies_loses_its_unit_only() -> None:
    found = dict(work_in_processes(make, 1, [1, -signal.SIGKILL, 2, 3], jobs=1))
    died = found.pop(-signal.SIGKILL)
    assert isinstance(died, Died)
    assert "was killed, probably for lack of memory" in str(died)
    assert [result[0] for result in found.values() if not isinstance(result, Died)] == [1, 2, 3]


def test_other_ends_are_named() -> None:
    [(_, died)] = work_in_processes(make, 1, [-signal.SIGTERM], jobs=1)
    assert str(died) == f"its process ended with status -{signal.SIGTERM.value}"


def test_errors_reach_the_parent_and_end_the_others() -> None:
    with pytest.raises(ConfigError, match="unit=100: not allowed"):
        list(work_in_processes(make, 1, [100, 1], jobs=2))
    with pytest.raises(RuntimeError, match=r"(?s)in a worker process:.*ZeroDivisionError"):
        list(work_in_processes(make, 1, [200], jobs=1))
