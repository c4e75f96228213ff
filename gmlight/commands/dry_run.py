"""Estimates a run's time and memory: `python -m gmlight.train dry_run=true`."""

from pathlib import Path

from omegaconf import DictConfig

from gmlight.artifacts.run_folder import RunFolder
from gmlight.benchmarking.dry_run import rehearse
from gmlight.builders.run import build_run
from gmlight.config.experiment_cells import blank_cell
from gmlight.config.labels import describe
from gmlight.errors import ConfigError
from gmlight.runtime.console import new_console


def dry_run(config: DictConfig, path: Path) -> None:
    """Builds a run, runs a few steps, and prints estimates for the whole run; writes no files.

    Args:
        config: of gmlight.train.
        path: the folder of the run.

    Raises:
        ConfigError: the configuration does not work, or has `resume`.
    """
    if config.resume is not None:
        raise ConfigError("dry_run=true: estimates new runs only; leave out resume=")
    record, console = describe(config), new_console()
    if reason := blank_cell(config):
        console.print(f"{record.headline}: not applicable, {reason}")
        return
    rehearse(build_run(config, RunFolder(path), record, console), config)
