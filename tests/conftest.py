"""What the tests share: no network, a run in this process, and tiny problems in double precision."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict
from torch import nn

from gmlight.architectures.convnet import ConvNet
from gmlight.config import CONF_DIR, check, prepare_process, register_resolvers
from gmlight.train import train

os.environ["WANDB_SILENT"] = "true"

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
def _two_threads() -> None:
    torch.set_num_threads(2)


def composed(*overrides: str, name: str = "train") -> DictConfig:
    """The configuration of a command line, with Hydra's own part set as in a run."""
    register_resolvers()
    with initialize_config_dir(config_dir=str(CONF_DIR), version_base="1.3"):
        config = compose(name, list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    with open_dict(config):
        del config["hydra"]
    return config


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Runs gmlight.train in this process, tiny unless told otherwise; gives the run folder."""
    numbers = iter(range(1000))

    def _run(*overrides: str) -> Path:
        folder = tmp_path / f"run{next(numbers)}"
        folder.mkdir()
        config = composed(*TINY, *overrides)
        if "width" in config.architecture:
            config.architecture.width = 8
        check(config)
        prepare_process(config)
        train(config, folder)
        return folder

    yield _run
    HydraConfig.instance().cfg = None


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


def random_images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.double, generator=torch.Generator().manual_seed(seed))
