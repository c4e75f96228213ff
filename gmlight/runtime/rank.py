"""This process's rank, read without importing torch or Lightning, which a command imports late."""

import os
import sys

from gmlight.errors import ConfigError

# Where launchers write the rank, in the order in which Lightning reads them.
_VARIABLES = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
# Further whole numbers that launchers write, and that Lightning or gmlight read.
_NUMBERS = (
    "GROUP_RANK", "JSM_NAMESPACE_LOCAL_RANK", "JSM_NAMESPACE_SIZE", "LOCAL_WORLD_SIZE", "MASTER_PORT",
    "NODE_RANK", "SLURM_JOB_ID", "SLURM_LOCALID", "SLURM_NNODES", "SLURM_NODEID", "SLURM_NTASKS",
    "SLURM_NTASKS_PER_NODE", "SLURM_RESTART_COUNT", "SLURM_STEP_ID", "WORLD_SIZE",
)  # fmt: skip


def check_launcher_variables() -> None:
    """Checks the variables that launchers set, and deletes empty ones, which Lightning cannot read.

    Raises:
        ConfigError: a variable is not a whole number.
    """
    for name in (*_VARIABLES, *_NUMBERS):
        value = os.environ.get(name)
        if value is None or (value.isascii() and value.isdigit()):
            continue
        if value.strip():
            raise ConfigError(f"the environment variable {name}={value}: must be a whole number; unset it")
        del os.environ[name]


def is_main() -> bool:
    """Whether this process is rank 0 or the only one; works before there is a process group."""
    # If Lightning is imported, it knows the rank; a trainer may override the environment.
    rank_zero = sys.modules.get("lightning.fabric.utilities.rank_zero")
    rank = getattr(getattr(rank_zero, "rank_zero_only", None), "rank", None)
    if rank is None:
        rank = next((int(os.environ[name]) for name in _VARIABLES if os.environ.get(name)), 0)
    return rank == 0
