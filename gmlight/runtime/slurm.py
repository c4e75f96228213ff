"""What Slurm tells a process of its job: whether it is one of srun's tasks, whether it was requeued."""

import os

from gmlight.errors import ConfigError


def in_job() -> bool:
    """Whether a Slurm job runs this process."""
    return "SLURM_JOB_ID" in os.environ


def was_requeued() -> bool:
    """Whether the job has run before and was put back into the queue, as when one of more priority came."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0


def check_tasks(*, together: bool) -> None:
    """Refuses what srun's tasks cannot be.

    Args:
        together: whether they are the processes of one run, `trainer=slurm`.

    Raises:
        ConfigError: they are, and there is no srun, or their number on a node is not known; or they are
            not, and there are several.
    """
    tasks = int(os.environ.get("SLURM_NTASKS", "1"))
    by_srun = in_job() and "SLURM_STEP_ID" in os.environ
    if together and not by_srun:
        raise ConfigError(
            "trainer=slurm: srun has not started this process; put `srun python -m gmlight.train "
            "trainer=slurm ...` into a script for sbatch"
        )
    if together and tasks > 1 and "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise ConfigError(f"trainer=slurm: srun --ntasks={tasks} is not enough; use --ntasks-per-node=")
    # In a shell that srun has opened, the shell was the task; tasks started from there inherit its variables.
    in_a_shell = "SLURM_PTY_PORT" in os.environ and os.isatty(0)
    alone = in_a_shell or "TORCHELASTIC_RUN_ID" in os.environ
    if not together and by_srun and tasks > 1 and not alone:
        raise ConfigError(
            f"srun has started {tasks} tasks, each would do the whole work; use srun --ntasks=1, or for one "
            "run of several processes trainer=slurm"
        )


def set_port() -> None:
    """Where the tasks of a step meet; one of each step's own, where nobody has chosen one."""
    step = int(os.environ["SLURM_JOB_ID"]) * 10 + int(os.environ["SLURM_STEP_ID"])
    os.environ.setdefault("MASTER_PORT", str(15000 + step % 15000))
