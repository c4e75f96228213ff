"""A Condenser on a tiny problem, and batches to train it with."""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import lightning
import torch
from torch.utils.data import DataLoader, IterableDataset

from gmlight.condensation import schedules
from gmlight.condensation.condenser import Condenser
from gmlight.condensation.synthetic import Pixels, Synthetic
from gmlight.data.images import RealBatch
from gmlight.matching import distances, rules
from helpers.problems import gradient_engine, random_images, small_network

SETTINGS = {"image_lr": 0.1, "image_momentum": 0.5, "network_lr": 0.01, "network_momentum": 0.5}


class Stream(IterableDataset):
    """Batches one after another, of unknown number, as the data module serves them."""

    def __init__(self, batches: list[RealBatch]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[RealBatch]:
        return iter(self.batches)


def condenser(
    images: torch.Tensor, updates: int, epochs: list[int], form: Synthetic | None = None, **options: object
) -> Condenser:
    classes = len(images)
    parts: dict = {
        "factory": functools.partial(small_network, classes=classes),
        "engine": gradient_engine(),
        "matching": functools.partial(rules.multilevel, inter_weight=None, class_weights="equal"),
        "distance": functools.partial(distances.cos_euclid, weight=1.0),
        "schedule": functools.partial(schedules.adaptive, epochs=dict(enumerate(epochs))),
        "schedule_unit": "epochs",
        "class_names": tuple(map(str, range(classes))),
        "priors": [1 / classes] * classes,
        "updates": updates,
        "image_steps": 1,
        "train_batch": 256,
        "matched_synthetic": 256,
        "diagnose_every": 1,
        "seed": 3,
    }
    return Condenser(form or Pixels(images), **(parts | SETTINGS | options)).double()


def fit(
    module: Condenser,
    batches: list[RealBatch],
    resume: Path | None = None,
    callbacks: Sequence[lightning.Callback] = (),
) -> lightning.Trainer:
    """Trains on the batches; `resume`: a checkpoint of the batches before them."""
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
