"""Builds the real images and what draws batches of them."""

from collections.abc import Callable

from omegaconf import DictConfig
from torch import nn

from gmlight.builders.part_checks import checked_loader
from gmlight.builders.part_errors import build_part
from gmlight.builders.parts import needs_statistics
from gmlight.config.compose import data_root, instantiate
from gmlight.data.datamodule import CondensationData
from gmlight.data.images import Sampler, at_random


def build_data(
    config: DictConfig, statistics: bool = False, sampler: Sampler = at_random
) -> CondensationData:
    """The dataset, not yet loaded; `statistics`: whether updates need images for batch norm."""
    dataset = build_part("dataset", config.dataset)
    return CondensationData(
        checked_loader(dataset["load"]),
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
