"""Ports of Slurm's steps."""

import os

import pytest

from gmlight.errors import ConfigError
from gmlight.runtime.slurm import check_tasks, in_job, set_port, was_requeued


def port(monkeypatch: pytest.MonkeyPatch, job: int, step: int) -> int:
    monkeypatch.setenv("SLURM_JOB_ID", str(job))
    monkeypatch.setenv("SLURM_STEP_ID", str(step))
    monkeypatch.delenv("MASTER_PORT", raising=False)
    set_port()
    return int(os.environ["MASTER_PORT"])


def test_steps_of_neighbouring_jobs_have_their_own_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    assert port(monkeypatch, 123, 4) == 15000 + 1234
    assert port(monkeypatch, 12345, 0) == 15000 + 3450
    ports = {port(monkeypatch, job, step) for job in range(500, 510) for step in range(10)}
    assert len(ports) == 100


def test_a_given_port_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    port(monkeypatch, 1, 1)
    monkeypatch.setenv("MASTER_PORT", "29500")
    set_port()
    assert os.environ["MASTER_PORT"] == "29500"


IN_JOB = {"SLURM_JOB_ID": "7"}
BY_SRUN = {**IN_JOB, "SLURM_STEP_ID": "0"}
TWO = {**BY_SRUN, "SLURM_NTASKS": "2"}
CASES = [
    ({}, False, None),
    ({}, True, "was not started by srun"),
    (IN_JOB, False, None),
    (IN_JOB, True, "was not started by srun"),
    (BY_SRUN, False, None),
    (BY_SRUN, True, None),
    (TWO, True, "--ntasks=2 is not enough; use --ntasks-per-node="),
    ({**TWO, "SLURM_NTASKS_PER_NODE": "2"}, True, None),
    (TWO, False, "srun has started 2 tasks, each would do the whole run"),
    ({**IN_JOB, "SLURM_NTASKS": "2"}, False, None),  # sbatch --ntasks=2 without srun
    ({**TWO, "TORCHELASTIC_RUN_ID": "x"}, False, None),
]  # fmt: skip


@pytest.mark.parametrize(("variables", "together", "line"), CASES)
def test_tasks_that_fit_the_trainer(
    variables: dict[str, str], together: bool, line: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith(("SLURM_", "TORCHELASTIC_"))]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert in_job() == ("SLURM_JOB_ID" in variables)
    if line is None:
        check_tasks(together=together)
    else:
        with pytest.raises(ConfigError, match=line):
            check_tasks(together=together)


@pytest.mark.parametrize(("count", "requeued"), [(None, False), ("0", False), ("1", True), ("2", True)])
def test_requeued_jobs(count: str | None, requeued: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    if count is not None:
        monkeypatch.setenv("SLURM_RESTART_COUNT", count)
    assert was_requeued() == requeued
