"""Builds Lightning's Trainer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch import callbacks as lightning_callbacks
from lightning.pytorch import profilers
from lightning.pytorch.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning.pytorch.strategies.launchers import subprocess_script
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig

from gmlight.artifacts.checkpoint_io import AtomicCheckpointIO
from gmlight.callbacks.progress_bar import ProgressBar
from gmlight.config.compose import instantiate
from gmlight.config.trainer_keys import REFUSED
from gmlight.errors import ConfigError
from gmlight.runtime import slurm
from gmlight.runtime.determinism import use_deterministic_kernels

_PROFILERS = {
    "simple": profilers.SimpleProfiler,
    "advanced": profilers.AdvancedProfiler,
    "pytorch": profilers.PyTorchProfiler,
    "xla": profilers.XLAProfiler,
}


def build_trainer(
    config: DictConfig,
    logger: object = False,
    callbacks: Sequence[lightning.Callback] = (),
    profiler: profilers.Profiler | None = None,
    updates: int | None = None,
    folder: Path | None = None,
) -> lightning.Trainer:
    """Builds Lightning's Trainer with the arguments of `config.trainer` (see `config.trainer_keys`).

    Args:
        config: the whole configuration.
        logger: Lightning's loggers, or False.
        callbacks: of the run, in order.
        profiler: replaces `trainer.profiler`; None: does not.
        updates: number of image updates; None: iterations * updates of the configuration.
        folder: for Lightning's files, such as a profiler's report; None: the working directory.

    Raises:
        ConfigError: Lightning refuses the settings, or a plugin or strategy sets another precision.
    """
    together = "SLURMEnvironment" in str(config.trainer.get("plugins"))
    slurm.check_tasks(together=together)
    if together:
        slurm.set_port()
    partial = instantiate(config.trainer)
    settings: dict[str, Any] = {"default_root_dir": folder, "enable_model_summary": False, **partial.keywords}
    settings["profiler"] = profiler or _profiler(settings.get("profiler"), settings["default_root_dir"])
    settings["plugins"] = _plugins(settings.get("plugins"), in_own_process=not together)
    settings |= _displays(callbacks, settings) | {
        "max_steps": config.iterations * config.updates if updates is None else updates,
        "max_epochs": -1,
        "logger": logger,
        "num_sanity_val_steps": 0,
        "inference_mode": False,
        "use_distributed_sampler": False,
    }
    try:
        trainer = partial(**settings)
    except (MisconfigurationException, ValueError) as error:
        raise ConfigError(_explain(error, together=together)) from None
    if trainer.precision != "32-true":  # by a plugin, or by a strategy
        raise ConfigError(f"the trainer's precision is {trainer.precision}: {REFUSED['precision'][1]}")
    use_deterministic_kernels(trainer.strategy.root_device)
    # Lightning's handlers would replace gmlight's before the first batch is drawn. They note a SIGTERM, and
    # the process ends later, without a word and with status 0.
    trainer._signal_connector.register_signal_handlers = lambda: None
    # Lightning would kill this process without a word if one that it started is lost (see runtime.processes).
    subprocess_script._launch_process_observer = lambda child_processes: None
    return trainer


def _explain(error: Exception, *, together: bool) -> str:
    # One line with Lightning's reason and the fix.
    fix = (
        "Ask for the GPUs of a node, --gpus-per-node=, not of a task"
        if together
        else "Use trainer=cpu or trainer=auto"
    )
    return f"the trainer cannot start: {str(error).splitlines()[0]} {fix}"


def _plugins(plugins: Any, *, in_own_process: bool) -> list[Any]:
    chosen = list(plugins) if isinstance(plugins, list | tuple) else [plugins] if plugins is not None else []
    chosen.insert(0, AtomicCheckpointIO())
    if in_own_process and slurm.in_job() and not TorchElasticEnvironment.detect():
        chosen.append(LightningEnvironment())  # else Lightning takes any process of a job for a task
    return chosen


def _profiler(profiler: Any, folder: Path | str | None) -> profilers.Profiler | None:
    # Writes the report to a file, because gmlight hides the log level at which Lightning would print it.
    if isinstance(profiler, str):
        if profiler.lower() not in _PROFILERS:
            raise ConfigError(f"trainer.profiler={profiler}: must be null or one of {', '.join(_PROFILERS)}")
        profiler = _PROFILERS[profiler.lower()]()
    if profiler is not None and not isinstance(profiler, profilers.Profiler):
        raise ConfigError(f"trainer.profiler={profiler}: must be null or one of {', '.join(_PROFILERS)}")
    if profiler is not None:
        profiler.dirpath = profiler.dirpath or folder
        profiler.filename = profiler.filename or "profile"
    return profiler


def _displays(callbacks: Sequence[lightning.Callback], settings: dict[str, Any]) -> dict[str, Any]:
    # Lightning refuses such a callback unless its kind is enabled, and adds a default callback if it is.
    def has(kind: type) -> bool:
        return any(isinstance(callback, kind) for callback in callbacks)

    shows_our_bar = settings.get("enable_progress_bar", True) and not has(lightning_callbacks.ProgressBar)
    return {
        "callbacks": [
            callback for callback in callbacks if shows_our_bar or not isinstance(callback, ProgressBar)
        ],
        "enable_progress_bar": has(lightning_callbacks.ProgressBar),
        "enable_checkpointing": has(lightning_callbacks.Checkpoint),
        "enable_model_summary": settings["enable_model_summary"] or has(lightning_callbacks.ModelSummary),
    }


def refuse_processes_in_a_sweep(trainer: lightning.Trainer) -> None:
    """Refuses a sweep of runs with several processes: each process would start the whole sweep again.

    Raises:
        ConfigError: this is a sweep, and a run has several processes that are not tasks of a Slurm job.
    """
    hydra_config = HydraConfig.get()
    if trainer.world_size == 1 or hydra_config.mode != RunMode.MULTIRUN:
        return
    launcher = str(hydra_config.runtime.choices["hydra/launcher"])
    if trainer.strategy.launcher is not None or not launcher.startswith("submitit"):
        raise ConfigError(
            f"trainer.devices: in a sweep, each of a run's {trainer.world_size} processes would start the "
            "whole sweep; start single runs, or use trainer=slurm with hydra/launcher=submitit_slurm"
        )
