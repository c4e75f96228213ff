"""Arguments of lightning.Trainer: those that users may set, and the keys that replace the others."""

import os
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gmlight.errors import ConfigError

# Passed on to Lightning.
PASSED_ON = {
    "accelerator", "benchmark", "default_root_dir", "detect_anomaly", "deterministic", "devices",
    "enable_autolog_hparams", "enable_model_summary", "enable_progress_bar", "num_nodes", "plugins",
    "profiler", "strategy",
}  # fmt: skip

_LENGTH = "set iterations and updates instead"
_NO_VALIDATION = "there is no validation loop; set evaluation.every and evaluation.networks instead"
_MANUAL = "image gradients are not Lightning's; lower image_lr instead"
_HYDRA_KEYS = {"_target_", "_partial_", "_convert_", "_recursive_"}
# Argument -> (accepted values, which gmlight uses anyway; what to do instead of setting another value).
REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "accumulate_grad_batches": ((1,), "image gradients are not Lightning's; set real_batch instead"),
    "barebones": ((False,), "set logger=none and enable_progress_bar=false instead"),
    "callbacks": ((None,), "add one with +callbacks.<name>._target_=<class> instead"),
    "check_val_every_n_epoch": ((1,), _NO_VALIDATION),
    "enable_checkpointing": ((False,), "set checkpoint.every and checkpoint.minutes instead"),
    "fast_dev_run": ((False, 0), "set dry_run=true or scale=smoke instead"),
    "gradient_clip_algorithm": ((None,), _MANUAL),
    "gradient_clip_val": ((None,), _MANUAL),
    "inference_mode": ((False,), "networks are trained during an evaluation; leave it out"),
    "limit_predict_batches": ((None,), _NO_VALIDATION),
    "limit_test_batches": ((None,), _NO_VALIDATION),
    "limit_train_batches": ((None,), _LENGTH),
    "limit_val_batches": ((None,), _NO_VALIDATION),
    "log_every_n_steps": ((None,), "set log_every instead"),
    "logger": ((None,), "choose one with logger=csv, tensorboard, wandb or none instead"),
    "max_epochs": ((-1,), _LENGTH),
    "max_steps": ((), _LENGTH),
    "max_time": ((None,), "stop the run with SIGTERM and resume it with resume=<its folder> instead"),
    "min_epochs": ((None,), _LENGTH),
    "min_steps": ((None,), _LENGTH),
    "model_registry": ((None,), "a condensed set is not a model; use logger=wandb to upload it"),
    "num_sanity_val_steps": ((0,), _NO_VALIDATION),
    "overfit_batches": ((0, 0.0), "set real_batch instead"),
    "precision": ((None, 32, "32", "32-true"), "set speed.precision instead"),
    "reload_dataloaders_every_n_epochs": ((0,), "images are drawn anew for each update; leave it out"),
    "sync_batchnorm": ((False,), "batch norm uses fixed statistics; set statistics_batch instead"),
    "use_distributed_sampler": ((False,), "every process draws its own images; leave it out"),
    "val_check_interval": ((None,), _NO_VALIDATION),
}
# Arguments that only trainer.fit uses -> accepted values in a command that does not call it.
_ONLY_FIT: dict[str, tuple[Any, ...]] = {
    "default_root_dir": (None,),
    "detect_anomaly": (None, False),
    "enable_autolog_hparams": (None, True),
    "enable_model_summary": (None, False),
    "enable_progress_bar": (None, True),
    "profiler": (None,),
}


def check_trainer(trainer: DictConfig) -> None:
    """Refuses arguments of lightning.Trainer that gmlight sets itself, by name and with what to set instead.

    Raises:
        ConfigError: one is set, here or by Lightning's environment variables `PL_TRAINER_<ARGUMENT>`.
    """
    for key, value in trainer.items():
        name = str(key)
        if name in REFUSED:
            _refuse_others(name, value, *REFUSED[name])
        if name not in PASSED_ON | REFUSED.keys() | _HYDRA_KEYS:
            raise ConfigError(f"trainer.{name}: not an argument of lightning.Trainer")
    for name, (_, instead) in REFUSED.items():
        if (variable := f"PL_TRAINER_{name.upper()}") in os.environ:
            raise ConfigError(f"{variable} is set: {instead}; unset the variable")
    _check_processes(trainer)


def check_effect(config: DictConfig) -> None:
    """Refuses arguments of lightning.Trainer that would have no effect in the command.

    Args:
        config: the composed configuration, whose keys tell which command it is for.

    Raises:
        ConfigError: one is set.
    """
    ignored, instead = {}, ""
    if "run" in config:  # a command on a condensed set
        ignored, instead = _ONLY_FIT, "has no effect here, only in gmlight.train; leave it out"
    elif config.get("dry_run"):
        ignored, instead = (
            {"profiler": (None,)},
            "dry_run=true uses its own profiler; leave out one of the two",
        )
    elif "against" in config:  # gmlight.benchmark
        ignored, instead = (
            {"profiler": (None,)},
            "the benchmark uses its own profiler; use it in gmlight.train",
        )
    for name, values in ignored.items():
        if name in config.trainer:
            _refuse_others(name, config.trainer[name], values, instead)


def _refuse_others(name: str, value: Any, values: tuple[Any, ...], instead: str) -> None:
    if not any(type(value) is type(other) and value == other for other in values):
        shown = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        raise ConfigError(f"trainer.{name}={shown}: {instead}")


def _check_processes(trainer: DictConfig) -> None:
    several = "strategy" in trainer
    for key in ("devices", "num_nodes"):
        value = trainer.get(key, 1)
        if not several and value != 1:
            raise ConfigError(f"trainer.{key}={value}: must be 1; use trainer=ddp for several")
        if value != "auto" and (type(value) is not int or value < 1):
            raise ConfigError(f"trainer.{key}={value}: must be auto or a whole number of at least 1")
