"""Check for rank 0 without importing torch or Lightning, which a command imports late."""

import os
import sys

# Where launchers write the rank, in the order in which Lightning reads them.
_VARIABLES = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")


def is_main() -> bool:
    """Whether this process is rank 0 or the only one; works before there is a process group."""
    # If Lightning is imported, it knows the rank; a trainer may override the environment.
    rank_zero = sys.modules.get("lightning.fabric.utilities.rank_zero")
    rank = getattr(getattr(rank_zero, "rank_zero_only", None), "rank", None)
    if rank is None:
        rank = next((int(os.environ[name]) for name in _VARIABLES if name in os.environ), 0)
    return rank == 0
