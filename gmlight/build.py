"""From configuration to parts: the one place where the nodes of conf/ become objects."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from torch import nn

from gmlight import coresets, scheduler
from gmlight.architectures.blocks import uses_batch_norm
from gmlight.augmentation import Augmentation, CutMix
from gmlight.checkpointing import AtomicCheckpointIO
from gmlight.compilation import Compilation
from gmlight.condenser import Condenser
from gmlight.config import choose, data_root, instantiate, is_siamese, protocol_label
from gmlight.data import CondensationData, LabelledImages, Sampler, TrainingSet, at_random
from gmlight.distributed import is_main
from gmlight.engine import GradientEngine
from gmlight.errors import ConfigError
from gmlight.evaluation import Evaluator
from gmlight.loggers import About
from gmlight.progress import shown
from gmlight.randomness import generator
from gmlight.schedules import Schedule
from gmlight.synthetic import Synthetic


def build_data(
    config: DictConfig, statistics: bool = False, sampler: Sampler = at_random
) -> CondensationData:
    """The dataset, not yet loaded; `statistics`: whether updates need images for batch norm."""
    dataset = instantiate(config.dataset)
    return CondensationData(
        dataset["load"],
        root=data_root(config),
        download=config.download,
        classes=dataset["classes"],
        shape=(dataset["channels"], *dataset["size"]),
        mean=dataset["mean"],
        std=dataset["std"],
        real_batch=config.real_batch,
        mixed_batch=config.mixed_batch,
        statistics_batch=config.statistics_batch if statistics else 0,
        matched_batch=config.matching.get("mixed_real", 0),
        matched_every=2 if config.matching["_target_"].endswith(".interleaved") else 1,
        iterations=config.iterations,
        updates=config.updates,
        seed=config.seed,
        device_share=config.memory.device_share,
        holdout=config.holdout,
        sampler=sampler,
    )


def build_matched_data(config: DictConfig, factory: Callable[[], nn.Module]) -> CondensationData:
    """`build_data` with what matching on these networks needs of it."""
    return build_data(config, needs_statistics(factory), build_sampler(config, factory))


def build_sampler(config: DictConfig, factory: Callable[[], nn.Module]) -> Sampler:
    """What draws the real batches that are matched on these networks."""
    sampler = instantiate(config.sampling)
    if sampler is at_random:
        return sampler
    return sampler(
        factory=factory,
        batch_size=config.train_batch,
        lr=config.network_lr,
        momentum=config.network_momentum,
        seed=config.seed,
    )


def build_factory(architecture: DictConfig, dataset: DictConfig) -> Callable[[], nn.Module]:
    """What makes fresh networks for the dataset's images; tried once, so that a wrong option fails here."""
    factory = functools.partial(
        instantiate(architecture),
        channels=dataset.channels,
        size=tuple(dataset.size),
        classes=len(dataset.classes),
    )
    with torch.device("meta"):
        factory()
    return factory


def needs_statistics(factory: Callable[[], nn.Module]) -> bool:
    """Whether matching on these networks has to move batch-norm statistics."""
    with torch.device("meta"):
        return uses_batch_norm(factory())


def evaluation_architecture(architecture: DictConfig, batch_norm: str) -> DictConfig:
    """The architecture that is evaluated: itself, with the norm that is to stand in for batch norm."""
    target = architecture.copy()
    if target.get("norm") == "batch":
        target.norm = batch_norm
    return target


def build_compilation(config: DictConfig, notify: Callable[[str], None]) -> Compilation:
    """Decides what is compiled, for the whole run; `notify` gets a line on each."""
    return Compilation(config.speed.compile, notify)


def build_evaluators(
    config: DictConfig,
    data: CondensationData,
    source: str,
    compilation: Compilation,
    console: Console,
) -> dict[str, Evaluator]:
    """What trains and tests networks of each of evaluation.architectures, by its name in a table.

    Args:
        source: name of the configuration's own architecture, which is evaluated where none are listed.
    """
    own = source.split(",")[0]  # with "convnet, width=64" that is what convnet means in this run
    evaluators = {}
    for name in config.evaluation.architectures or [own]:
        node = config.architecture if name == own else choose(config, "architecture", name)
        target = evaluation_architecture(node, config.evaluation.batch_norm)
        label = source if name == own else name
        if target != node:
            console.print(f"{name} is evaluated with instance norm in the place of batch norm")
            label += " (instance)"
        evaluators[label] = build_evaluator(config, target, data, compilation)
    return evaluators


def build_evaluator(
    config: DictConfig, architecture: DictConfig, data: CondensationData, compilation: Compilation
) -> Evaluator:
    """Trains and tests fresh networks of the architecture as config.evaluation says."""
    protocol = config.evaluation
    return Evaluator(
        build_factory(architecture, config.dataset),
        data,
        epochs=protocol.epochs,
        lr=protocol.lr,
        momentum=protocol.momentum,
        weight_decay=protocol.weight_decay,
        batch_size=protocol.batch_size,
        augmentation=build_augmentation(config),
        cutmix=CutMix(protocol.cutmix) if protocol.get("cutmix") else None,
        seed=config.seed,
        test_batch=_unless_auto(protocol.test_batch),
        networks_at_once=_unless_auto(protocol.networks_at_once),
        compilation=compilation,
        protocol=protocol_label(config),
    )


def build_augmentation(config: DictConfig) -> Augmentation:
    """What images go through while networks train on them, when they are evaluated at least."""
    return instantiate(_without(config.augmentation, "evaluation_epochs"))


def evaluation_protocol(config: DictConfig) -> dict[str, Any]:
    """What an accuracy depends on besides the set, the architecture's name and the network's number."""
    keys = ("epochs", "batch_size", "lr", "momentum", "weight_decay", "batch_norm", "cutmix")
    plain: Any = OmegaConf.to_container(config, resolve=True)
    nodes = {key: plain.get(key) for key in ("architecture", "augmentation", "dataset", "holdout", "seed")}
    return nodes | {key: plain["evaluation"].get(key) for key in keys}


def build_start(config: DictConfig, data: CondensationData, console: Console | None = None) -> TrainingSet:
    """The initial S, or the real set that is only evaluated; the console shows what takes long."""
    rng = generator(config.seed, "initialization")
    # Noise is drawn as what is stored; images are drawn as many as it is made of.
    noise = config.initialization["_target_"].endswith(".noise")
    drawn = config.ipc if noise else config.ipc * config.synthetic.get("factor", 1) ** 2
    make = instantiate(config.initialization)
    if console is None or config.initialization.get("features") != "network":
        return make(data.train, drawn, rng)
    doing, epochs = "herding: training its network", config.initialization.epochs
    with shown(doing, "epoch", epochs, console) as progress:
        return make(data.train, drawn, rng, progress=progress)


def build_synthetic(config: DictConfig, start: LabelledImages, data: CondensationData) -> Synthetic:
    """S as it is before its first update."""
    images = start.images.unflatten(0, (len(data.classes), -1))
    rng = generator(config.seed, "synthetic")
    return instantiate(config.synthetic)(images, ipc=config.ipc, mean=data.mean, std=data.std, rng=rng)


def build_baselines(config: DictConfig, data: CondensationData) -> list[tuple[str, TrainingSet, int]]:
    """The sets evaluated beside S: the name they are shown with, the set, its number of networks."""
    networks = config.evaluation.baselines
    baselines: list[tuple[str, TrainingSet, int]] = []
    if networks.random:
        images = coresets.random(data.train, config.ipc, generator(config.seed, "random-baseline"))
        baselines.append(("random images", images, networks.random))
    if networks.whole:
        baselines.append(("whole train set", data.train, networks.whole))
    return baselines


def build_loggers(config: DictConfig, folder: Path, about: About) -> list[Logger]:
    """Lightning's loggers, where this is the process that writes."""
    return [make(folder, about) for make in instantiate(config.logger).values()] if is_main() else []


def build_schedule(config: DictConfig) -> Schedule:
    """The schedule as a function of t and the losses; its unit is the condenser's business."""
    return instantiate(_without(config.schedule, "unit"))


def _without(node: DictConfig, *keys: str) -> dict[str, Any]:
    # What a node says besides its function's own arguments.
    return {str(key): value for key, value in node.items() if key not in keys}


def _unless_auto(value: int | str) -> int | None:
    return None if isinstance(value, str) else value


def build_engine(config: DictConfig, data: CondensationData, compilation: Compilation) -> GradientEngine:
    """What computes class gradients on the device of the data, which is loaded.

    Raises:
        ConfigError: the device has no TF32.
    """
    if config.speed.precision == "tf32" and data.train.device.type != "cuda":
        raise ConfigError(
            "speed.precision=tf32: only an NVIDIA GPU has it; use speed.precision=float32 or bfloat16"
        )
    return GradientEngine(
        microbatch=_unless_auto(config.speed.microbatch),
        classes_per_block=_unless_auto(config.speed.classes_per_block),
        precision=config.speed.precision,
        compilation=compilation,
        real_images=config.iterations * config.updates * config.real_batch * len(data.classes),
    )


def build_condenser(
    config: DictConfig,
    start: TrainingSet,
    data: CondensationData,
    factory: Callable[[], nn.Module],
    compilation: Compilation,
) -> Condenser:
    """The module that learns S from its start."""
    if not isinstance(start, LabelledImages):
        raise ConfigError("initialization=whole: the whole training set is not condensed; use iterations=0")
    return Condenser(
        build_synthetic(config, start, data),
        factory=factory,
        engine=build_engine(config, data, compilation),
        classes_per_chunk=_unless_auto(config.memory.classes_per_chunk),
        matching=instantiate(_without(config.matching, "mixed_real", "mixed_synthetic")),
        distance=instantiate(config.distance),
        schedule=build_schedule(config),
        schedule_unit=config.schedule.unit,
        class_names=data.classes,
        priors=data.train.priors,
        updates=config.updates,
        image_steps=config.image_steps,
        image_lr=config.image_lr,
        image_momentum=config.image_momentum,
        network_lr=config.network_lr,
        network_momentum=config.network_momentum,
        train_batch=config.train_batch,
        matched_synthetic=config.matching.get("mixed_synthetic", 0),
        diagnose_every=config.diagnose_every,
        seed=config.seed,
        siamese=build_augmentation(config) if is_siamese(config) else None,  # type: ignore[arg-type]
        network_images=data.train if config.network_images == "real" else None,
    )


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
    scheduler.check_tasks(together=together)
    if together:
        scheduler.set_port()
    partial = instantiate(config.trainer)
    plugins = [AtomicCheckpointIO(), *partial.keywords.get("plugins", [])]
    if scheduler.in_job() and not together and not TorchElasticEnvironment.detect():
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
