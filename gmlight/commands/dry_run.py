"""What `python -m gmlight.train dry_run=true` does."""

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
    """Builds a run, makes a few of its steps, and prints what the whole run will take; writes nothing.

    Args:
        config: of gmlight.train.
        path: the run folder that the run would have.
    """
    if config.resume is not None:
        raise ConfigError("dry_run=true: is for a new run; leave out resume=")
    record, console = describe(config), new_console()
    if reason := blank_cell(config):
        console.print(f"{record.headline}: not applicable, {reason}")
        return
    rehearse(build_run(config, RunFolder(path), record, console), config)
