"""Instruments: seconds, parts of an iteration, memory, and what a convolution reaches at best."""

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


def wait(device: torch.device) -> None:
    """Until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Wall time."""
    wait(device)
    started = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - started


class Parts(Profiler):
    """Seconds of each part of an iteration, as the code that computes it tells Lightning's profilers.

    It waits for the device at each border; only `running` does it do anything.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device, self.running = device, True
        self.seconds: dict[str, float] = defaultdict(float)
        self._started: dict[str, float] = {}

    def start(self, action_name: str) -> None:
        if self.running and action_name in PARTS:
            wait(self.device)
            self._started[action_name] = time.perf_counter()

    def stop(self, action_name: str) -> None:
        if action_name in self._started:
            wait(self.device)
            self.seconds[action_name] += time.perf_counter() - self._started.pop(action_name)

    def summary(self) -> str:
        return ""


class Memory:
    """Bytes in use at once, of a GPU or of the process, at most and beyond those in use when it was made.

    What the allocator keeps free is given back first. `peak` is null where the system cannot tell.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self._before: int | None = torch.cuda.memory_allocated(device)
            return
        self._before = None
        with contextlib.suppress(OSError, AttributeError):  # glibc and Linux alone can do it
            ctypes.CDLL("libc.so.6").malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")
            self._before = _status("VmRSS")

    def peak(self) -> int | None:
        if self._before is None:
            return None
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) - self._before
        return _status("VmHWM") - self._before


class Watch:
    """Measures an iteration, from when it is made until `stop`.

    Args:
        parts: what the iteration tells its parts to.
        profiled: whether to look at parts and memory, too, which takes time of its own.
    """

    def __init__(self, parts: Parts, profiled: bool) -> None:
        self._parts = parts
        parts.running = profiled
        parts.seconds.clear()
        self._memory = Memory(parts.device) if profiled else None
        wait(parts.device)
        self._started = time.perf_counter()

    def stop(self) -> dict[str, Any]:
        """`seconds`, and where it is profiled `parts` in seconds and `memory` in bytes."""
        wait(self._parts.device)
        measured: dict[str, Any] = {"seconds": time.perf_counter() - self._started}
        if self._memory is not None:
            measured |= {"parts": dict(self._parts.seconds), "memory": self._memory.peak()}
        return measured


def convolution_peak(device: torch.device) -> float:
    """The most GFLOP/s that a 3x3 convolution of 128 maps, ConvNet's own, reaches in float32 at some size."""
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
        best = max(best, *(work / seconds_of(convolve, device) / 1e9 for _ in range(10)))
    return best


def _status(field: str) -> int:
    # Bytes, of this process.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
