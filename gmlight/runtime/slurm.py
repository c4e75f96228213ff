"""Slurm's environment variables of this process: tasks of srun, requeued job, port."""

import os

from gmlight.errors import ConfigError


def in_job() -> bool:
    """Whether this process runs in a Slurm job."""
    return "SLURM_JOB_ID" in os.environ


def was_requeued() -> bool:
    """Whether the job was requeued after an earlier start, for instance after a preemption."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0


def check_tasks(*, together: bool) -> None:
    """Checks that srun's tasks fit the trainer.

    Args:
        together: whether the tasks are the processes of one run (`trainer=slurm`).

    Raises:
        ConfigError: `together` without srun or without the number of tasks per node; or several tasks that
            would each do the whole run.
    """
    tasks = int(os.environ.get("SLURM_NTASKS", "1"))
    by_srun = in_job() and "SLURM_STEP_ID" in os.environ
    if together and not by_srun:
        raise ConfigError(
            "trainer=slurm: this process was not started by srun; put `srun python -m gmlight.train "
            "trainer=slurm ...` into a script for sbatch"
        )
    if together and tasks > 1 and "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise ConfigError(f"trainer=slurm: srun --ntasks={tasks} is not enough; use --ntasks-per-node=")
    # In an interactive srun shell, the shell is the task, and programs started from it inherit its variables.
    in_a_shell = "SLURM_PTY_PORT" in os.environ and os.isatty(0)
    alone = in_a_shell or "TORCHELASTIC_RUN_ID" in os.environ
    if not together and by_srun and tasks > 1 and not alone:
        raise ConfigError(
            f"srun has started {tasks} tasks, each would do the whole run; use srun --ntasks=1, or "
            "trainer=slurm for one run of several processes"
        )


def set_port() -> None:
    """Sets MASTER_PORT to a port that differs between the steps of a job; an existing value is kept."""
    step = int(os.environ["SLURM_JOB_ID"]) * 10 + int(os.environ["SLURM_STEP_ID"])
    os.environ.setdefault("MASTER_PORT", str(15000 + step % 15000))
