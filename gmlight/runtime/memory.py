"""Peak memory, out-of-memory errors that name the setting to halve, and glibc's allocator."""

import ctypes
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from gmlight.errors import OutOfMemoryError

_SIGNS = ("can't allocate memory", "CUDA error: out of memory")


def peak_bytes(device: torch.device) -> int:
    """Returns the peak memory so far: allocated on a GPU, or resident in this process for a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@contextmanager
def explain_out_of_memory(what: str, key: str, size: Callable[[], int]) -> Iterator[None]:
    """Turns an out-of-memory error inside the block into one line that names the setting to halve.

    Args:
        what: name of the computation in the block.
        key: configuration key that sets its size.
        size: returns the present value of the key.

    Raises:
        OutOfMemoryError: memory ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch's out-of-memory error is a RuntimeError
        if isinstance(error, RuntimeError) and not _is_out_of_memory(error):
            raise
        now = size()
        advice = f"{key}={now // 2} halves it" if now > 1 else "use a device with more, or a smaller network"
        raise OutOfMemoryError(f"out of memory in {what}, {key}={now}: {advice}") from None


@contextmanager
def naming_missing_memory() -> Iterator[None]:
    """Turns an out-of-memory error anywhere inside the block into one line; for those that no key explains.

    Raises:
        OutOfMemoryError: memory ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _is_out_of_memory(error):
            raise
        reason = next(filter(None, str(error).splitlines()), type(error).__name__)
        raise OutOfMemoryError(
            f"out of memory ({reason}); end other programs that use it, or use smaller images or fewer"
        ) from None


def _is_out_of_memory(error: RuntimeError) -> bool:
    # The CPU allocator raises a plain RuntimeError, and CUDA's runtime an error of its own.
    said = str(error)
    return isinstance(error, torch.OutOfMemoryError) or any(sign in said for sign in _SIGNS)


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h


def keep_large_blocks() -> bool:
    """Makes glibc reuse large blocks: raises the mmap and trim thresholds to 1 GiB and 2 GiB.

    Returns:
        Whether a glibc was found and accepted both.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, 2**30) and mallopt(_TRIM_THRESHOLD, 2**31 - 1))
