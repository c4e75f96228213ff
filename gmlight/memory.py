"""Memory: how much was taken, and where it was not enough, what was too large and which setting halves it."""

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
