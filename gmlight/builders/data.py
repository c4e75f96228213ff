"""Builds the data module, and loads it in every process of a run."""

from collections.abc import Callable
from functools import partial

import lightning
from lightning.pytorch.plugins.environments import LightningEnvironment
from omegaconf import DictConfig
from torch import nn

from gmlight.builders.part_checks import checked_loader
from gmlight.builders.part_errors import build_part
from gmlight.builders.parts import Parts, build_rule, needs_statistics, network_sgd
from gmlight.config.answers import answer
from gmlight.config.compose import chooses_classes, instantiate
from gmlight.config.literal import class_names
from gmlight.config.values import data_root
from gmlight.data.datamodule import BatchSizes, CondensationData
from gmlight.data.images import Sampler, random_sampling
from gmlight.data.source import DataSource
from gmlight.errors import ConfigError
from gmlight.matching.rules import Rule
from gmlight.runtime.distributed import ranks


def build_source(config: DictConfig) -> DataSource:
    """Builds the source of the dataset that the configuration names; reads no files."""
    dataset, load = config.dataset, build_part("dataset", config.dataset.load)
    if chooses_classes(dataset.load):
        load = partial(load, classes=class_names(config))
    return DataSource(
        partial(checked_loader(load), data_root(config)),
        classes=class_names(config) or [],
        shape=(dataset.channels, *dataset.size),
        mean=dataset.mean,
        std=dataset.std,
        download=config.download,
        holdout=config.holdout,
    )


def build_data(
    config: DictConfig,
    *,
    statistics: bool = False,
    sampler: Sampler = random_sampling,
    rule: Rule | None = None,
    source: DataSource | None = None,
) -> CondensationData:
    """Builds the data module; reads no files.

    Args:
        config: the composed configuration.
        statistics: whether image updates need a batch for the statistics of batch norm.
        sampler: draws the real batches.
        rule: says when mixed batches are matched; None: the configuration's.
        source: of the images; None: the dataset that the configuration names.
    """
    return CondensationData(
        build_source(config) if source is None else source,
        BatchSizes(
            real=config.real_batch,
            mixed=config.mixed_batch,
            statistics=config.statistics_batch if statistics else 0,
            matched=config.matching.get("mixed_real", 0),
        ),
        updates=config.updates,
        seed=config.seed,
        sampler=sampler,
        needs_mixed_batches=(rule or build_rule(config)).needs_mixed_batches,
        device_share=config.memory.device_share,
    )


def build_matched_data(
    config: DictConfig, parts: Parts, source: DataSource | None = None
) -> CondensationData:
    """Builds the data module for matching with these parts.

    Args:
        config: the composed configuration.
        parts: of the run.
        source: of the images; None: the dataset that the configuration names.
    """
    statistics, sampler = needs_statistics(parts.factory), build_sampler(config, parts.factory)
    return build_data(config, statistics=statistics, sampler=sampler, rule=parts.rule, source=source)


def build_sampler(config: DictConfig, factory: Callable[[], nn.Module]) -> Sampler:
    """Builds the sampler, which draws the real batches.

    Args:
        config: the composed configuration.
        factory: makes the networks whose gradients are matched.
    """
    sampler = instantiate(config.sampling)
    if sampler is random_sampling:
        return sampler
    if not answer(config.sampling, "trains_networks", True):
        return sampler(updates=config.updates, seed=config.seed)
    return sampler(factory=factory, sgd=network_sgd(config), seed=config.seed)


def load_data(data: CondensationData, trainer: lightning.Trainer) -> CondensationData:
    """Loads the data in every process, before `trainer.fit`.

    Rank 0 downloads first. Then the first process of each other node downloads what its node lacks, and all
    processes read. This works with and without a file system shared by the nodes. If Lightning starts the
    processes, it does so in `trainer.fit`, after the first process has downloaded.

    Args:
        data: the data module.
        trainer: its strategy names the processes and the device.

    Returns:
        The data module, loaded.

    Raises:
        ConfigError: the data cannot be downloaded or read; the same error in all processes.
    """
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if trainer.world_size == 1 or isinstance(environment, LightningEnvironment):
        if trainer.local_rank == 0:  # it starts the node's other processes later
            data.prepare_data()
    else:  # torchrun or Slurm has started all processes
        trainer.strategy.setup_environment()  # makes the process group, as trainer.fit would later
        _prepare_on(data, trainer.global_rank == 0)
        _prepare_on(data, trainer.local_rank == 0)
    return data.load(trainer.strategy.root_device)


def _prepare_on(data: CondensationData, chosen: bool) -> None:
    # Gathering the errors is also a barrier: all processes wait for the chosen ones.
    message = None
    try:
        if chosen:
            data.prepare_data()
    except ConfigError as error:
        message = str(error)
    found = [each for each in ranks.gather_objects(message) if each is not None]
    if found:
        raise ConfigError(found[0])
