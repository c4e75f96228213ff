"""Shared fixtures: no network, fixed threads, and runs in this process or in another one."""

import importlib
import io
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from matplotlib.figure import Figure

from helpers.processes import run_forked, run_module
from helpers.runs import THREADS, Run, train_tiny

os.environ["WANDB_SILENT"] = "true"
os.environ["OMP_NUM_THREADS"] = str(THREADS)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: object) -> None:
        if self.family != socket.AF_UNIX and not str(address).startswith(
            ("('127.", "('::1'", "('localhost'")
        ):
            raise OSError(f"a test may not connect to {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", os.devnull)


@pytest.fixture(autouse=True)
def _threads() -> None:
    torch.set_num_threads(THREADS)


@pytest.fixture(autouse=True)
def _no_curves(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leaves the curves out of report pages, except in tests/reporting, to halve the time of a tiny run."""
    savefig = Figure.savefig

    def save(self: Figure, file: object, **options: object) -> None:
        if isinstance(file, io.BytesIO):
            file.write(b'<svg xmlns="http://www.w3.org/2000/svg"/>')
        else:
            savefig(self, file, **options)

    with pytest.MonkeyPatch.context() as patch:
        if request.path.parent.name != "reporting":
            patch.setattr(Figure, "savefig", save)
        yield


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Returns a function that runs gmlight.train in this process, tiny by default, and returns its folder."""
    numbers = iter(range(1000))

    def _run(*overrides: str) -> Path:
        folder = tmp_path / f"run{next(numbers)}"
        train_tiny(folder, *overrides)
        return folder

    yield _run
    HydraConfig.instance().cfg = None


def user_environment(home: Path) -> dict[str, str]:
    """Returns the environment variables of a user without data and without a wandb key."""
    hidden = ("GMLIGHT_DATA_DIR", "WANDB_API_KEY", "HYDRA_FULL_ERROR")
    return {name: value for name, value in os.environ.items() if name not in hidden} | {"HOME": str(home)}


@pytest.fixture
def command(tmp_path: Path) -> Run:
    """Returns a function that runs `python -m gmlight.<module> ...` in a new folder, without a terminal."""

    def _command(module: str, *words: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", f"gmlight.{module}", *words],
            cwd=tmp_path, env=user_environment(tmp_path), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip

    return _command


@pytest.fixture
def forked(tmp_path: Path) -> Run:
    """Returns the same function as `command`, in a forked process that has imported gmlight already."""

    def _forked(module: str, *words: str) -> subprocess.CompletedProcess:
        return run_forked(
            run_module, f"gmlight.{module}", list(words),
            folder=tmp_path, environment=user_environment(tmp_path),
        )  # fmt: skip

    return _forked


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> Run:
    """Returns the same function as `command`, in this process, which saves seconds per call."""

    def _typed(module: str, *words: str) -> subprocess.CompletedProcess:
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("GMLIGHT_DATA_DIR", raising=False)
        monkeypatch.setattr(sys, "argv", [f"gmlight.{module}", *words])
        capfd.readouterr()
        status: object = 0
        try:
            importlib.import_module(f"gmlight.{module}").main()
        except SystemExit as stop:
            status = stop.code
        stdout, stderr = capfd.readouterr()
        if isinstance(status, str):  # Python prints it and exits 1
            status, stderr = 1, stderr + status
        return subprocess.CompletedProcess(words, status, stdout, stderr)  # type: ignore[arg-type]

    return _typed
