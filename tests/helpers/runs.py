"""Helpers to compose configurations and to run gmlight.train in this process, tiny by default."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict

from gmlight.commands.train import train
from gmlight.config.compose import name_classes, register_resolvers
from gmlight.config.process import prepare_process
from gmlight.config.validate import check
from gmlight.runtime.paths import CONF_DIR

Run = Callable[..., subprocess.CompletedProcess]

# With `pytest -n`, each test has one thread.
THREADS = 1 if "PYTEST_XDIST_WORKER" in os.environ else 2
# The smallest run with all parts: a quick evaluation and two baselines.
SMOKE = ["scale=smoke", "ipc=2", "trainer=cpu", "download=false"]
_SHORTER = ["evaluation.every=0", "evaluation.baselines.whole=0", "speed.compile=false"]
# Takes a third of the time of SMOKE; for all other tests.
TINY = [*SMOKE, *_SHORTER, "architecture.width=8"]


def composed(*overrides: str, name: str = "train") -> DictConfig:
    """Composes the configuration of a command line, and sets Hydra's configuration as in a run."""
    register_resolvers()
    with initialize_config_dir(config_dir=str(CONF_DIR), version_base="1.3"):
        config = compose(name, list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    with open_dict(config):
        del config["hydra"]
    return config


def train_tiny(folder: Path, *overrides: str) -> None:
    """Runs gmlight.train in this process, tiny by default, into a new folder."""
    folder.mkdir(parents=True)
    config = composed(*SMOKE, *_SHORTER, *overrides)
    if "width" in config.architecture:
        config.architecture.width = 8
    name_classes(config)
    check(config)
    prepare_process(config)
    train(config, folder)


def refusal(result: subprocess.CompletedProcess) -> str:
    """Checks that a command printed one line for a user error, and returns the line."""
    assert result.returncode == 1, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("gmlight: ")
    return lines[0]
