"""A Condenser on a tiny problem, and batches to train it with."""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import lightning
import torch
from torch.utils.data import DataLoader, IterableDataset

from gmlight.condensation import schedules
from gmlight.condensation.condenser import Condenser
from gmlight.condensation.inner_loop import InnerLoop
from gmlight.condensation.synthetic import Pixels, Synthetic
from gmlight.data.images import RealBatch
from gmlight.matching.image_gradient import GradientMatcher
from helpers.problems import numbered_classes, random_images, small_network

SETTINGS = {"image_lr": 0.1, "image_momentum": 0.5, "network_lr": 0.01, "network_momentum": 0.5}
IMAGE_OPTIMIZER = functools.partial(torch.optim.SGD, lr=0.1, momentum=0.5)
NETWORK_OPTIMIZER = functools.partial(torch.optim.SGD, lr=0.01, momentum=0.5)


class Stream(IterableDataset):
    """An iterable dataset of batches without a length, like the data module's."""

    def __init__(self, batches: list[RealBatch]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[RealBatch]:
        return iter(self.batches)


def condenser(
    images: torch.Tensor,
    updates: int,
    epochs: list[int],
    synthetic: Synthetic | None = None,
    *,
    matcher: dict | None = None,
    inner_loop: dict | None = None,
    **options: object,
) -> Condenser:
    """Epochs: zeta of each t but the last; the dicts and options replace settings of the three parts."""
    classes = len(images)
    parts: dict = {
        "factory": functools.partial(small_network, classes=classes),
        "schedule": functools.partial(schedules.adaptive, epochs=dict(enumerate(epochs))),
        "optimizer": NETWORK_OPTIMIZER,
    }
    settings: dict = {"image_optimizer": IMAGE_OPTIMIZER, "diagnose_every": 1, "seed": 3}
    return Condenser(
        synthetic or Pixels(images),
        GradientMatcher(numbered_classes(classes), **(matcher or {})),
        InnerLoop(**(parts | (inner_loop or {}))),
        updates=updates,
        **(settings | options),
    ).double()


def fit(
    module: Condenser,
    batches: list[RealBatch],
    resume: Path | None = None,
    callbacks: Sequence[lightning.Callback] = (),
) -> lightning.Trainer:
    """Trains on the batches. `resume`: a checkpoint to start from."""
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_steps=batches[-1].k * module.updates + batches[-1].t + 1,
        max_epochs=-1,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(Stream(batches), batch_size=None)
    trainer.fit(module, loader, ckpt_path=resume, weights_only=True if resume else None)
    return trainer


def real_batches(outer: int, updates: int, classes: int, size: int = 4) -> list[RealBatch]:
    return [
        RealBatch(
            k,
            t,
            random_images(classes, size, 2, 8, 8, seed=100 * k + t),
            mixed=(random_images(6, 2, 8, 8, seed=1000 + 100 * k + t), torch.arange(6) % classes),
            statistics=random_images(5, 2, 8, 8, seed=2000 + 100 * k + t),
        )
        for k in range(outer)
        for t in range(updates)
    ]
