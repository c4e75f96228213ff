"""glibc's allocator, told to keep large blocks.

By default glibc gives activations of many megabytes back to the system when they are freed, and takes them
anew in the next layer, page fault by page fault. No number changes with this, only time.
"""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h


def keep_large_blocks() -> bool:
    """Raises the thresholds of this process to 1 GiB and 2 GiB; whether there was a glibc to tell."""
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, 2**30) and mallopt(_TRIM_THRESHOLD, 2**31 - 1))
