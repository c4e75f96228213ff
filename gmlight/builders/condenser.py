"""Builds the module that learns the synthetic set."""

import functools
from collections.abc import Callable
from pathlib import Path

import torch
from omegaconf import DictConfig
from rich.console import Console

from gmlight.artifacts.condensed_set import CondensedDataset, describes_run
from gmlight.builders.parts import Parts, build_initialization, network_sgd, unless_auto
from gmlight.condensation.condenser import Condenser
from gmlight.condensation.image_updates import ImageRate, ImageUpdates
from gmlight.condensation.inner_loop import InnerLoop
from gmlight.condensation.network_pool import NetworkPool
from gmlight.condensation.synthetic import Synthetic
from gmlight.config.answers import answer
from gmlight.config.compose import instantiate
from gmlight.data.augmentation import CutMix, none
from gmlight.data.datamodule import CondensationData
from gmlight.data.images import LabelledImages, TrainingSet
from gmlight.errors import ConfigError
from gmlight.matching.engine import GradientEngine
from gmlight.matching.image_gradient import GradientMatcher
from gmlight.matching.real_gradients import check_memory
from gmlight.runtime.autocast import autocast_type
from gmlight.runtime.compile import Compilation
from gmlight.runtime.progress import show_progress
from gmlight.runtime.seeding import generator


def build_start(
    config: DictConfig,
    data: CondensationData,
    console: Console | None = None,
    initialization: Callable[..., TrainingSet] | None = None,
) -> TrainingSet:
    """Makes the initial synthetic set, or the real set that is only evaluated.

    Args:
        config: of the run.
        data: the loaded dataset.
        console: shows the progress of a network whose features choose images; None: no progress.
        initialization: makes the set; None: the configuration's.

    Returns:
        Images sorted by class; or the whole training set.
    """
    if path := config.initialization.get("path"):
        _refuse_leak(config.holdout, path, data, console)
    rng = generator(config.seed, "initialization")
    # Noise has as many images as are stored; real images are as many as are decoded from the stored images.
    noise = answer(config.initialization, "draws_noise")
    images_per_class = config.ipc if noise else config.ipc * config.synthetic.get("factor", 1) ** 2
    initialize = initialization or build_initialization(config)
    if console is None or config.initialization.get("features") != "network":
        return initialize(data.train, images_per_class, rng)
    epochs = config.initialization.epochs
    name = answer(config.initialization, "__name__")
    with show_progress(f"{name}: training its network", "epoch", epochs, console) as progress:
        return initialize(data.train, images_per_class, rng, progress=progress)


def _refuse_leak(holdout: float, path: str, data: CondensationData, console: Console | None) -> None:
    # A set that was learned from what is the test set now would have too high an accuracy.
    metadata = CondensedDataset(path).metadata
    if not describes_run(metadata):
        return
    before, digest = metadata.get("data"), data.info.digest
    made_with = metadata["config"].get("holdout", 0)  # older sets lack it
    if holdout not in (0, made_with):
        raise ConfigError(
            f"holdout={holdout}: initialization.path={path} was made with holdout={made_with}, so it may be "
            f"learned from images that are tested now; use holdout={made_with}, or 0"
        )
    if console is None or before is None or digest is None or holdout != made_with:
        return
    if before["train"]["sha256"] != digest.train.sha256:
        console.print(
            f"warning: initialization.path={path} was learned from other training images; if some of them "
            "are tested now, the accuracies are too high"
        )


def build_synthetic(config: DictConfig, start: LabelledImages, data: CondensationData) -> Synthetic:
    """Builds the synthetic set before its first update."""
    images = start.images.unflatten(0, (len(data.classes), -1))
    rng = generator(config.seed, "synthetic")
    return instantiate(config.synthetic)(images, ipc=config.ipc, mean=data.mean, std=data.std, rng=rng)


def build_engine(config: DictConfig, data: CondensationData, compilation: Compilation) -> GradientEngine:
    """Builds the engine that computes class gradients on the device of the loaded data.

    Args:
        config: of the run.
        data: the loaded dataset.
        compilation: decides what is compiled.

    Raises:
        ConfigError: the device has no TF32.
    """
    if config.speed.precision == "tf32" and data.train.device.type != "cuda":
        raise ConfigError(
            "speed.precision=tf32: only an NVIDIA GPU has it; use speed.precision=float32 or bfloat16"
        )
    return GradientEngine(
        microbatch=unless_auto(config.speed.microbatch),
        classes_per_block=unless_auto(config.speed.classes_per_block),
        precision=config.speed.precision,
        compilation=compilation,
        real_images=config.iterations * config.updates * config.real_batch * len(data.classes),
        layers=config.matching.get("layers", "all"),
    )


def check_gradients(config: DictConfig, data: CondensationData, parts: Parts, processes: int) -> None:
    """Checks that the gradients on the real images of all classes fit the memory.

    Args:
        config: of the run.
        data: the loaded dataset.
        parts: of the run.
        processes: of the run; they share out the classes, and on a CPU also the memory.

    Raises:
        ConfigError: they do not fit.
    """
    mixed = config.matching.get("mixed_real") and all(parts.rule.needs_mixed_batches(k) for k in (0, 1))
    if mixed or not config.iterations:
        return
    classes, device = len(data.classes), data.train.device
    with torch.device("meta"):  # its shapes are enough
        network = parts.factory()
    at_once = classes if device.type == "cpu" else -(-classes // processes)
    check_memory(network, at_once, device, config.matching.get("layers", "all"))


def build_matcher(config: DictConfig, data: CondensationData, parts: Parts) -> GradientMatcher:
    """Builds the matcher, which computes the gradient of the matching loss in the images."""
    return GradientMatcher(
        data.info,
        parts.rule,
        parts.distance,
        build_engine(config, data, parts.compilation),
        classes_per_chunk=unless_auto(config.memory.classes_per_chunk),
        mixed_synthetic=config.matching.get("mixed_synthetic", 0),
    )


def build_image_updates(config: DictConfig, data: CondensationData) -> ImageUpdates:
    """Builds how the images are updated."""
    rate = ImageRate(config.iterations, config.image_lr_warmup, config.image_lr_decay)
    constant = not rate.warmup and rate.decay == "none"
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (data.mean, data.std))
    return ImageUpdates(
        steps=config.image_steps,
        by_class=config.matching.get("step", "all") == "class",
        at_once=config.synthetic_batch,
        prefixes=config.ipc if config.multi_size else 0,
        rate=None if constant else rate,
        clip=((0 - mean) / std, (1 - mean) / std) if config.clip_images else None,
    )


def build_inner_loop(
    config: DictConfig,
    data: CondensationData,
    parts: Parts,
    file: Path | None = None,
    console: Console | None = None,
) -> InnerLoop:
    """Builds the inner loop, which trains the network between image updates.

    Args:
        config: of the run.
        data: the loaded dataset.
        parts: of the run.
        file: keeps the networks of `network_start=pool`; None: they are not kept.
        console: shows the progress of their training; None: no progress.
    """
    sgd, mixes = network_sgd(config), config.network_cutmix > 0
    augmentation = parts.dsa.for_network(mixes=mixes) if parts.dsa else none
    cutmix, pool = CutMix(config.network_cutmix) if mixes else None, None
    precision = autocast_type(config.speed.network_precision)
    if config.network_start == "pool":  # its networks train like the network between image updates
        pool = NetworkPool(
            parts.factory,
            data.train,
            size=config.pool.networks,
            epochs=config.pool.epochs,
            least=config.pool.least,
            most=config.pool.most,
            sgd=sgd,
            augmentation=augmentation,
            cutmix=cutmix,
            precision=precision,
            file=file,
            console=console,
        )
    return InnerLoop(
        parts.factory,
        parts.schedule,
        optimizer=sgd.over,
        unit=config.schedule.unit,
        batch_size=sgd.batch_size,
        train_on=data.train if config.network_images == "real" else None,
        augmentation=augmentation,
        cutmix=cutmix,
        pool=pool,
        precision=precision,
    )


def build_condenser(
    config: DictConfig,
    start: TrainingSet,
    data: CondensationData,
    parts: Parts,
    pool_file: Path | None = None,
    console: Console | None = None,
) -> Condenser:
    """Builds the module that learns the synthetic set.

    Args:
        config: of the run.
        start: the initial images, sorted by class.
        data: the loaded dataset.
        parts: of the run.
        pool_file: keeps the networks of `network_start=pool`; None: they are not kept.
        console: shows the progress of their training; None: no progress.

    Raises:
        ConfigError: the start is the whole training set, or the device lacks the precision.
    """
    if not isinstance(start, LabelledImages):
        raise ConfigError("initialization=whole: the whole training set is not condensed; use iterations=0")
    return Condenser(
        build_synthetic(config, start, data),
        build_matcher(config, data, parts),
        build_inner_loop(config, data, parts, pool_file, console),
        updates=config.updates,
        image_optimizer=functools.partial(
            torch.optim.SGD, lr=config.image_lr, momentum=config.image_momentum
        ),
        image_updates=build_image_updates(config, data),
        dsa=parts.dsa,
        diagnose_every=config.diagnose_every,
        seed=config.seed,
    )
