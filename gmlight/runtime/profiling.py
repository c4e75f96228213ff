"""Timers for an iteration and its parts, peak memory, and a convolution's peak throughput."""

import contextlib
import ctypes
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.profilers import Profiler
from torch.nn.functional import conv2d

PARTS = ("real gradients", "synthetic gradients", "distance", "network")


def synchronize(device: torch.device) -> None:
    """Waits until the device has finished its queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure_seconds(work: Callable[[], object], device: torch.device) -> float:
    """Measures the wall time of a call, including queued work on the device."""
    synchronize(device)
    started = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - started


class PartTimer(Profiler):
    """Lightning profiler that sums the seconds of each part of an iteration.

    It synchronizes the device where a part starts and stops.

    Args:
        device: where the iteration runs.

    Attributes:
        running: whether to measure.
        seconds: by the names in PARTS.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device, self.running = device, True
        self.seconds: dict[str, float] = defaultdict(float)
        self._started: dict[str, float] = {}

    def start(self, action_name: str) -> None:
        if self.running and action_name in PARTS:
            synchronize(self.device)
            self._started[action_name] = time.perf_counter()

    def stop(self, action_name: str) -> None:
        if action_name in self._started:
            synchronize(self.device)
            self.seconds[action_name] += time.perf_counter() - self._started.pop(action_name)

    def summary(self) -> str:
        return ""


class PeakMemory:
    """Peak memory of a GPU or of this process, above what was in use at construction.

    Free memory that the allocator keeps is released first.

    Args:
        device: whose memory is measured.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self._before: int | None = torch.cuda.memory_allocated(device)
            return
        self._before = None
        with contextlib.suppress(OSError, AttributeError):  # needs glibc and Linux
            ctypes.CDLL("libc.so.6").malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")
            self._before = _status("VmRSS")

    def peak(self) -> int | None:
        """Returns the peak in bytes, or None if the system cannot measure it."""
        if self._before is None:
            return None
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) - self._before
        return _status("VmHWM") - self._before


class Stopwatch:
    """Measures one iteration, from construction to `stop`.

    Args:
        parts: the profiler that the iteration reports to.
        profiled: whether to measure parts and memory too, which takes extra time.
    """

    def __init__(self, parts: PartTimer, profiled: bool) -> None:
        self._parts = parts
        parts.running = profiled
        parts.seconds.clear()
        self._memory = PeakMemory(parts.device) if profiled else None
        synchronize(parts.device)
        self._started = time.perf_counter()

    def stop(self) -> dict[str, Any]:
        """Returns `seconds` and, if profiled, `parts` in seconds and `memory` in bytes."""
        synchronize(self._parts.device)
        measured: dict[str, Any] = {"seconds": time.perf_counter() - self._started}
        if self._memory is not None:
            measured |= {"parts": dict(self._parts.seconds), "memory": self._memory.peak()}
        return measured


def convolution_peak(device: torch.device) -> float:
    """Measures the highest GFLOP/s of ConvNet's 3x3 convolution (128 maps, float32) over several sizes."""
    best, times = 0.0, 1 if device.type == "cpu" else 50
    for images, size in ((16, 32), (16, 16), (256, 16), (1024, 32)):
        if device.type == "cpu" and images > 256:
            continue
        maps = torch.randn(images, 128, size, size, device=device)
        kernel = torch.randn(128, 128, 3, 3, device=device)
        work = times * 2 * 9 * 128 * 128 * size * size * images

        def convolve(maps: torch.Tensor = maps, kernel: torch.Tensor = kernel) -> None:
            for _ in range(times):
                conv2d(maps, kernel, padding=1)

        convolve()
        best = max(best, *(work / measure_seconds(convolve, device) / 1e9 for _ in range(10)))
    return best


def _status(field: str) -> int:
    # Returns a field of this process's status, in bytes.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
