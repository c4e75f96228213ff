"""Seconds of the parts of an iteration add up over repeated parts."""

import pytest
import torch

from gmlight.runtime import profiling
from gmlight.runtime.profiling import PARTS, PartTimer, Stopwatch


def test_seconds_of_a_part_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 1.0, 3.0, 4.0, 9.0, 10.0, 12.0, 20.0])
    monkeypatch.setattr(profiling.time, "perf_counter", lambda: next(times))
    parts = PartTimer(torch.device("cpu"))
    first, second = PARTS[:2]
    watch = Stopwatch(parts, profiled=True)  # at 0
    for name in (first, second, first):
        with parts.profile(name):  # 1 to 3, 4 to 9, 10 to 12
            pass
    measured = watch.stop()  # at 20
    assert (measured["seconds"], measured["parts"]) == (20.0, {first: 4.0, second: 5.0})
