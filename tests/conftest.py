"""What the tests share: no network, a run in this process, and tiny problems in double precision."""

import importlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict
from torch import nn

from gmlight.architectures.convnet import ConvNet
from gmlight.checks import check
from gmlight.compilation import Compilation
from gmlight.config import CONF_DIR, name_classes, prepare_process, register_resolvers
from gmlight.datasets import Splits, digits
from gmlight.engine import GradientEngine
from gmlight.siamese import TRANSFORMS, Siamese
from gmlight.train import train

os.environ["WANDB_SILENT"] = "true"
# Side by side, as `pytest -n` runs them, each test has one thread.
THREADS = 1 if "PYTEST_XDIST_WORKER" in os.environ else 2
os.environ["OMP_NUM_THREADS"] = str(THREADS)

Run = Callable[..., subprocess.CompletedProcess]

# The smallest run that goes through everything.
TINY = ["scale=smoke", "ipc=2", "trainer=cpu", "download=false"]


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


def composed(*overrides: str, name: str = "train") -> DictConfig:
    """The configuration of a command line, with Hydra's own part set as in a run."""
    register_resolvers()
    with initialize_config_dir(config_dir=str(CONF_DIR), version_base="1.3"):
        config = compose(name, list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    with open_dict(config):
        del config["hydra"]
    return config


def train_tiny(folder: Path, *overrides: str) -> None:
    """gmlight.train in this process, tiny unless told otherwise, into a new folder."""
    folder.mkdir(parents=True)
    config = composed(*TINY, *overrides)
    if "width" in config.architecture:
        config.architecture.width = 8
    name_classes(config)
    check(config)
    prepare_process(config)
    train(config, folder)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Runs gmlight.train in this process, tiny unless told otherwise; gives the run folder."""
    numbers = iter(range(1000))

    def _run(*overrides: str) -> Path:
        folder = tmp_path / f"run{next(numbers)}"
        train_tiny(folder, *overrides)
        return folder

    yield _run
    HydraConfig.instance().cfg = None


@pytest.fixture
def command(tmp_path: Path) -> Run:
    """`python -m gmlight.<module> ...` in an empty folder, without a terminal and without a key."""

    def _command(module: str, *words: str) -> subprocess.CompletedProcess:
        hidden = ("GMLIGHT_DATA_DIR", "WANDB_API_KEY", "HYDRA_FULL_ERROR")
        environment = {name: value for name, value in os.environ.items() if name not in hidden}
        return subprocess.run(
            [sys.executable, "-m", f"gmlight.{module}", *words],
            cwd=tmp_path, env=environment | {"HOME": str(tmp_path)}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip

    return _command


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> Run:
    """The same in this process, where starting one for each of many mistakes would take minutes."""

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


def refusal(result: subprocess.CompletedProcess) -> str:
    """The one line of an error a user caused."""
    assert result.returncode == 1, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("gmlight: ")
    return lines[0]


def enlarged_digits(root: str, download: bool, **options: object) -> Splits:
    """Two digits of each class, each pixel four times as wide and as high: 1x32x32."""

    def two_of_each(images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = torch.cat([(labels == c).nonzero().squeeze(1)[:2] for c in range(10)])
        return images[chosen].repeat_interleave(4, 2).repeat_interleave(4, 3), labels[chosen]

    train, test = digits(root, download, test_share=0.2, split_seed=0)
    return two_of_each(*train), two_of_each(*test)


def small_network(norm: str = "instance", channels: int = 2, size: int = 8, classes: int = 3) -> nn.Module:
    """A ConvNet of two blocks in double precision."""
    return ConvNet(
        channels=channels,
        size=(size, size),
        classes=classes,
        width=4,
        depth=2,
        activation="relu",
        norm=norm,
        pooling="avg",
    ).double()


def gradient_engine(**options: object) -> GradientEngine:
    """As a run has it on a CPU, not compiled."""
    settings: dict = {
        "microbatch": None,
        "classes_per_block": None,
        "precision": "float32",
        "compilation": Compilation(False, print),
        "real_images": 1,
    }
    return GradientEngine(**(settings | options))


def siamese(kind: type[Siamese] = Siamese, **options: object) -> Siamese:
    """With the published amounts."""
    settings: dict = {"transforms": TRANSFORMS, "flip": 0.5, "crop": 0.125, "cutout": 0.5, "scale": 1.2}
    settings |= {"rotate": 15.0, "brightness": 1.0, "saturation": 2.0, "contrast": 0.5}
    return kind(**(settings | options))


def random_images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.double, generator=torch.Generator().manual_seed(seed))
