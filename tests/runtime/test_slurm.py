"""Ports of Slurm's steps."""

import os

import pytest

from gmlight.runtime.slurm import set_port


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
