"""Builds Lightning's Trainer."""

from collections.abc import Sequence

import lightning
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig

from gmlight.artifacts.checkpoint_io import AtomicCheckpointIO
from gmlight.config.compose import instantiate
from gmlight.errors import ConfigError
from gmlight.runtime import slurm


def build_trainer(
    config: DictConfig,
    logger: object = False,
    callbacks: Sequence[lightning.Callback] = (),
    profiler: Profiler | None = None,
    updates: int | None = None,
) -> lightning.Trainer:
    """Lightning's Trainer for K*T image updates, or so many.

    Raises:
        ConfigError: it cannot be had here.
    """
    together = "SLURMEnvironment" in str(config.trainer.get("plugins"))
    slurm.check_tasks(together=together)
    if together:
        slurm.set_port()
    partial = instantiate(config.trainer)
    plugins = [AtomicCheckpointIO(), *partial.keywords.get("plugins", [])]
    if slurm.in_job() and not together and not TorchElasticEnvironment.detect():
        plugins.append(LightningEnvironment())  # Lightning takes any process of a job for one of its tasks
    try:
        return partial(
            max_steps=config.iterations * config.updates if updates is None else updates,
            max_epochs=-1,
            logger=logger,
            callbacks=list(callbacks),
            plugins=plugins,
            enable_checkpointing=False,  # Lightning's own
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            inference_mode=False,
            profiler=profiler,
        )
    except (MisconfigurationException, ValueError) as error:
        reason = str(error).splitlines()[0]
        mend = (
            "Ask for the GPUs of a node, --gpus-per-node=, not of a task"
            if together
            else "Use trainer=cpu or trainer=auto"
        )
        raise ConfigError(f"the trainer cannot start: {reason} {mend}") from None


def refuse_processes_in_a_sweep(trainer: lightning.Trainer) -> None:
    """Refuses several processes a run in a sweep: each would start the whole sweep again.

    Raises:
        ConfigError: this is a sweep, and a run has several processes that are not tasks of its own job.
    """
    hydra_config = HydraConfig.get()
    if trainer.world_size == 1 or hydra_config.mode != RunMode.MULTIRUN:
        return
    launcher = str(hydra_config.runtime.choices["hydra/launcher"])
    if trainer.strategy.launcher is not None or not launcher.startswith("submitit"):
        raise ConfigError(
            f"trainer.devices: {trainer.world_size} processes a run in a sweep, each would run the whole "
            "sweep; start the runs one by one, or as jobs of Slurm with trainer=slurm"
        )
