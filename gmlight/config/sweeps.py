"""A Hydra callback that prints a summary at the end of a sweep."""

import contextlib
import shlex
from pathlib import Path
from typing import Any

import yaml
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from gmlight.artifacts.run_folder import RunFolder
from gmlight.config.sweep_resume import find_jobs, split_jobs
from gmlight.errors import ConfigError
from gmlight.runtime.console import new_console, print_path, relative_path


class Sweep(Callback):
    """Prints how many runs of a sweep are finished, where they are, and the best values of a search."""

    def on_multirun_start(self, config: DictConfig, **keywords: Any) -> None:
        """Silences Optuna's log, which repeats the output of the runs."""
        if "optuna" in config.hydra.sweeper["_target_"]:
            import optuna

            optuna.logging.set_verbosity(optuna.logging.WARNING)

    def on_multirun_end(self, config: DictConfig, **keywords: Any) -> None:
        console, folder = new_console(), relative_path(Path(config.hydra.sweep.dir))
        if "dry_run=true" in config.hydra.overrides.task:
            (folder / "multirun.yaml").unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # not empty, or missing
                folder.rmdir()
            return
        found = folder / "optimization_results.yaml"
        if found.exists():
            from gmlight.artifacts import results  # slow, and every command imports this module

            best = yaml.safe_load(found.read_text())
            values = " ".join(f"{key}={value}" for key, value in best["best_params"].items())
            console.print(f"best     {values}  {best['best_value']:.2f} %", soft_wrap=True)
            for run in map(RunFolder, sorted(path for path in folder.iterdir() if path.is_dir())):
                if run.result.exists() and results.read_accuracy(run) == best["best_value"]:
                    print_path("run", run.path, console)
        elif "resume" in config:
            params = config.hydra.sweeper.get("params") or {}  # of an experiment
            words = [*(f"{key}={value}" for key, value in params.items()), *config.hydra.overrides.task]
            finished = [run for run in find_jobs(folder) if run.result.is_file()]
            with contextlib.suppress(ConfigError):  # the number of jobs of glob() is not known here
                jobs = split_jobs(words, "the sweep")
                how = (
                    f"; continue with resume={shlex.quote(str(folder))}" if len(finished) < len(jobs) else ""
                )
                console.print(f"runs     {len(finished)} of {len(jobs)} finished{how}", soft_wrap=True)
        print_path("sweep", folder, console)
        glob = shlex.quote(f"runs={folder}/*")
        console.print(f"tables   python -m gmlight.report {glob}", soft_wrap=True)
