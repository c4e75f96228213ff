"""From configuration to parts: the one place where the nodes of conf/ become objects."""

import functools
import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig
from rich.console import Console
from torch import nn

from gmlight import coresets
from gmlight.allocator import keep_large_blocks
from gmlight.architectures.blocks import uses_batch_norm
from gmlight.callbacks import evaluation_progress
from gmlight.checkpointing import AtomicCheckpointIO
from gmlight.condenser import Condenser
from gmlight.config import instantiate
from gmlight.data import CondensationData, LabelledImages, TrainingSet
from gmlight.errors import ConfigError
from gmlight.evaluation import Evaluator
from gmlight.randomness import generator
from gmlight.results import Row


def prepare_process(config: DictConfig) -> None:
    """What holds for the whole process, before anything large is allocated: allocator, Lightning's notes."""
    if config.speed.allocator == "auto":
        keep_large_blocks()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",  # batches are drawn from a tensor in this process
        ".*ModelCheckpoint with manual optimization.*",  # after the step is when a checkpoint is wanted
        ".*Experiment logs directory .* exists and is not empty.*",  # this run's own config.yaml
        ".*isinstance\\(treespec, LeafSpec\\).*",
    ):
        warnings.filterwarnings("ignore", message=message)


def build_data(config: DictConfig, statistics: bool = False) -> CondensationData:
    """The dataset, not yet loaded; `statistics`: whether updates need images for batch norm."""
    dataset = instantiate(config.dataset)
    return CondensationData(
        dataset["load"],
        classes=dataset["classes"],
        mean=dataset["mean"],
        std=dataset["std"],
        real_batch=config.real_batch,
        mixed_batch=config.validation_batch,
        statistics_batch=config.statistics_batch if statistics else 0,
        iterations=config.iterations,
        updates=config.updates,
        seed=config.seed,
        device_share=config.memory.device_share,
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


def evaluation_architecture(architecture: DictConfig) -> DictConfig:
    """The architecture that is evaluated: itself, with instance norm in the place of batch norm."""
    target = architecture.copy()
    if target.get("norm") == "batch":
        target.norm = "instance"
    return target


def build_evaluator(config: DictConfig, data: CondensationData) -> Evaluator:
    """Trains and tests fresh networks as config.evaluation says."""
    protocol = config.evaluation
    return Evaluator(
        build_factory(evaluation_architecture(config.architecture), config.dataset),
        data,
        epochs=protocol.epochs,
        lr=protocol.lr,
        momentum=protocol.momentum,
        weight_decay=protocol.weight_decay,
        batch_size=protocol.batch_size,
        test_batch=protocol.test_batch,
        augmentation=instantiate(config.augmentation),
        seed=config.seed,
    )


def set_name(config: DictConfig, images: TrainingSet) -> str:
    """What the run's own set is called in a table."""
    if config.iterations:
        return "condensed"
    return "real images" if isinstance(images, LabelledImages) else "whole training set"


def evaluate_sets(
    config: DictConfig,
    record: dict[str, Any],
    evaluator: Evaluator,
    sets: dict[str, tuple[TrainingSet, int]],
    console: Console,
) -> list[Row]:
    """A row of accuracies for each set, trained on by as many networks as stand beside it."""
    architecture = record["choices"]["architecture"]
    if evaluation_architecture(config.architecture) != config.architecture:
        console.print("evaluated with instance norm in the place of batch norm")
        architecture += " (instance norm)"
    rows = []
    for name, (images, networks) in sets.items():
        with evaluation_progress(name, networks, console) as finished:
            rows.append(Row(name, len(images), architecture, evaluator(images, networks, finished)))
    return rows


def build_start(config: DictConfig, data: CondensationData) -> TrainingSet:
    """The initial S, or the real set that is only evaluated."""
    rng = generator(config.seed, "initialization")
    return instantiate(config.initialization)(data.train, config.ipc, rng)


def build_baselines(config: DictConfig, data: CondensationData) -> dict[str, tuple[TrainingSet, int]]:
    """The sets evaluated beside S and their numbers of networks, by the name they are shown with."""
    networks = config.evaluation.baselines
    baselines: dict[str, tuple[TrainingSet, int]] = {}
    if networks.random:
        images = coresets.random(data.train, config.ipc, generator(config.seed, "random-baseline"))
        baselines["random real images"] = (images, networks.random)
    if networks.whole:
        baselines["whole training set"] = (data.train, networks.whole)
    return baselines


def build_condenser(
    config: DictConfig, start: TrainingSet, data: CondensationData, factory: Callable[[], nn.Module]
) -> Condenser:
    """The module that learns S from its start."""
    if not isinstance(start, LabelledImages):
        raise ConfigError("initialization=whole: the whole training set is not condensed; use iterations=0")
    images = start.images.unflatten(0, (len(data.classes), config.ipc))
    return Condenser(
        instantiate(config.synthetic)(images),
        factory=factory,
        matching=instantiate(config.matching),
        distance=instantiate(config.distance),
        schedule=instantiate(config.schedule),
        class_names=data.classes,
        priors=data.train.priors,
        updates=config.updates,
        image_lr=config.image_lr,
        image_momentum=config.image_momentum,
        network_lr=config.network_lr,
        network_momentum=config.network_momentum,
        train_batch=config.train_batch,
        seed=config.seed,
    )


def build_trainer(
    config: DictConfig, logger: object = False, callbacks: Sequence[lightning.Callback] = ()
) -> lightning.Trainer:
    """Lightning's Trainer for K*T image updates."""
    try:
        return instantiate(config.trainer)(
            max_steps=config.iterations * config.updates,
            max_epochs=-1,
            log_every_n_steps=config.log_every,
            logger=logger,
            callbacks=list(callbacks),
            plugins=[AtomicCheckpointIO()],
            enable_checkpointing=bool(callbacks),
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            inference_mode=False,
        )
    except MisconfigurationException as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"the trainer cannot start: {reason} Use trainer=cpu or trainer=auto") from None
