"""Peak memory, out-of-memory errors that name the setting to halve, and glibc's allocator."""

import ctypes
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from gmlight.errors import ConfigError


def peak_bytes(device: torch.device) -> int:
    """What was allocated on the device at most so far; for a CPU what the process has taken."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@contextmanager
def halved_by(what: str, key: str, size: Callable[[], int]) -> Iterator[None]:
    """Names what did not fit, in the place of a traceback.

    Args:
        what: is computed inside. key: of the configuration, that makes it smaller. size: its present value.

    Raises:
        ConfigError: memory was at its end.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch's own is a RuntimeError
        if isinstance(error, RuntimeError) and not _is_about_memory(error):
            raise
        now = size()
        mend = f"{key}={now // 2} halves it" if now > 1 else "use a device with more, or a smaller network"
        raise ConfigError(f"out of memory in {what}, {key}={now}: {mend}") from None


def _is_about_memory(error: RuntimeError) -> bool:
    # A CPU's allocator has no exception of its own.
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h


def keep_large_blocks() -> bool:
    """Raises the thresholds of this process to 1 GiB and 2 GiB; whether there was a glibc to tell."""
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, 2**30) and mallopt(_TRIM_THRESHOLD, 2**31 - 1))
