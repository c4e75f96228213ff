"""The program that every rank of a test runs: `torchrun ... tests/helpers/ddp_worker.py <folder>`."""

import functools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader

from gmlight.condensation import schedules
from gmlight.condensation.condenser import Condenser
from gmlight.condensation.image_updates import ImageUpdates
from gmlight.condensation.inner_loop import InnerLoop
from gmlight.condensation.synthetic import MultiFormation, Pixels
from gmlight.data.augmentation import none
from gmlight.data.images import RealBatch
from gmlight.matching import distances, rules
from gmlight.matching.image_gradient import GradientMatcher
from gmlight.runtime.distributed import ranks
from helpers.condensers import IMAGE_OPTIMIZER, NETWORK_OPTIMIZER, Stream
from helpers.problems import gradient_engine, numbered_classes, random_images, siamese, small_network

CLASSES, IPC, UPDATES, OUTER = 3, 2, 2, 2
DISTANCE = functools.partial(distances.cos_euclid, weight=1.0)
PRIORS = [0.5, 0.3, 0.2]


@dataclass(frozen=True)
class Case:
    """A matching rule, and the settings of the run that it is tested in.

    Args:
        rule: the matching rule.
        norm: normalisation of the network.
        image_steps: image steps per update.
        mixed: whether mixed batches replace the class batches.
        siamese: whether images are transformed before matching.
        factor: factor of multi-formation; 1: pixels.
        by_class: whether each class has image steps of its own.
        at_once: images per class that an update matches; 0: all.
        prefixes: stored images per class whose prefixes are matched too; 0: none are.
    """

    rule: rules.MatchingRule
    norm: str = "instance"
    image_steps: int = 1
    mixed: bool = False
    siamese: bool = False
    factor: int = 1
    by_class: bool = False
    at_once: int = 0
    prefixes: int = 0


CASES = {
    "intra": Case(rules.intra()),
    "inter": Case(rules.inter()),
    "interleaved": Case(rules.interleaved()),
    "multilevel": Case(rules.multilevel()),
    "batch weights": Case(rules.multilevel(0.5, "batch")),
    "priors": Case(rules.multilevel(class_weights="priors")),
    "mixed batches": Case(rules.inter(), mixed=True),
    "batch norm": Case(rules.multilevel(), norm="batch"),
    "image steps": Case(rules.multilevel(), image_steps=2),
    "siamese": Case(rules.multilevel(), image_steps=2, siamese=True),
    "siamese intra": Case(rules.intra(), siamese=True),
    "formed": Case(rules.multilevel(), siamese=True, factor=2),
    "classes in turn": Case(rules.intra(), by_class=True, image_steps=2),
    "classes in turn, means": Case(rules.interleaved(), by_class=True, siamese=True),
    "parts": Case(rules.multilevel(), factor=2, at_once=3),
    "prefixes": Case(rules.multilevel(), prefixes=2),
    "siamese mixed batches": Case(rules.inter(), mixed=True, siamese=True),
}


def batches(case: Case) -> list[RealBatch]:
    """Batches with 4, 3 and 5 real images per update; mixed batches have 7."""
    made = []
    for step in range(OUTER * UPDATES):
        images = [random_images(n, 2, 8, 8, seed=10 * step + n) for n in (4, 3, 5)]
        mixed = random_images(7, 2, 8, 8, seed=500 + step), torch.arange(7) % CLASSES
        matched = mixed if case.mixed else None
        statistics = random_images(6, 2, 8, 8, seed=900 + step) if case.norm == "batch" else None
        of_classes = () if matched else tuple(images)
        made.append(RealBatch(*divmod(step, UPDATES), of_classes, mixed, statistics, matched))
    return made


def condense(
    case: Case, chunk: int | None, strategy: Callable[[], Any], dtype: torch.dtype
) -> dict[str, Any]:
    """Returns the synthetic set after two outer iterations, and the losses."""
    start = random_images(CLASSES, IPC, 2, 8, 8)
    transform = siamese() if case.siamese else None
    matcher = GradientMatcher(
        numbered_classes(CLASSES, PRIORS),
        case.rule,
        DISTANCE,
        gradient_engine(microbatch=2, classes_per_block=1),
        classes_per_chunk=chunk,
        mixed_synthetic=4,
    )
    inner_loop = InnerLoop(
        lambda: small_network(case.norm).to(dtype),
        functools.partial(schedules.until_overfit, criterion="rise", margin=0.5, limit=4),
        optimizer=NETWORK_OPTIMIZER,
        batch_size=4,
        augmentation=transform or none,
    )
    module = Condenser(
        Pixels(start) if case.factor == 1 else MultiFormation(start, case.factor),
        matcher,
        inner_loop,
        updates=UPDATES,
        image_optimizer=IMAGE_OPTIMIZER,
        image_updates=ImageUpdates(case.image_steps, case.by_class, case.at_once, case.prefixes),
        dsa=transform,
        diagnose_every=1,
        seed=3,
    ).to(dtype)
    trainer = lightning.Trainer(
        accelerator="cpu", devices=ranks_wanted(), strategy=strategy(), max_steps=OUTER * UPDATES,
        max_epochs=-1,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False,
    )  # fmt: skip
    made = [_as(dtype, batch) for batch in batches(case)]
    trainer.fit(module, DataLoader(Stream(made), batch_size=None))
    metrics = {name: value.clone() for name, value in module.metrics.items()}
    return {"images": module.synthetic().detach().clone(), "zeta": module.zeta_used, "metrics": metrics}


def ranks_wanted() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _as(dtype: torch.dtype, batch: RealBatch) -> RealBatch:
    def cast(pair: Any) -> Any:
        return None if pair is None else (pair[0].to(dtype), pair[1])

    images = tuple(of_class.to(dtype) for of_class in batch.images)
    statistics = None if batch.statistics is None else batch.statistics.to(dtype)
    return RealBatch(batch.k, batch.t, images, cast(batch.mixed), statistics, cast(batch.matched))


def condense_all_cases(strategy: Callable[[], Any]) -> dict[str, Any]:
    """Returns results by case, chunk and precision."""
    wanted = [(name, None, torch.float64) for name in CASES]
    wanted += [("multilevel", 1, torch.float64), ("intra", None, torch.float32)]
    return {
        f"{name}, chunk {chunk}, {dtype}": condense(CASES[name], chunk, strategy, dtype)
        for name, chunk, dtype in wanted
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    outcome = condense_all_cases(lambda: DDPStrategy(process_group_backend="gloo"))
    known = ranks.gather({ranks.rank: float(ranks.rank)})
    torch.save(outcome | {"known": known}, Path(sys.argv[1]) / f"{ranks.rank}.pt")
    ranks.shut_down()
