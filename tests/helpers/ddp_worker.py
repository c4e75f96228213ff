"""What every rank of a test runs: `torchrun ... tests/every_rank.py <folder>`."""

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
from gmlight.condensation.synthetic import MultiFormation, Pixels
from gmlight.data.images import RealBatch
from gmlight.matching import distances, rules
from gmlight.runtime.distributed import ranks
from helpers.condensers import Stream
from helpers.problems import gradient_engine, random_images, siamese, small_network

CLASSES, IPC, UPDATES, OUTER = 3, 2, 2, 2
DISTANCE = functools.partial(distances.cos_euclid, weight=1.0)
WEIGHTED = {"inter_weight": None, "class_weights": "equal"}
MULTILEVEL = functools.partial(rules.multilevel, **WEIGHTED)


@dataclass(frozen=True)
class Case:
    """What is matched, and on what network. mixed: images of any class, in the place of the class batches.

    siamese: whether real and synthetic images are seen through a transform. factor: of multi-formation.
    """

    rule: Any
    norm: str = "instance"
    image_steps: int = 1
    mixed: bool = False
    siamese: bool = False
    factor: int = 1


CASES = {
    "intra": Case(rules.intra),
    "inter": Case(functools.partial(rules.inter, **WEIGHTED)),
    "interleaved": Case(functools.partial(rules.interleaved, **WEIGHTED)),
    "multilevel": Case(MULTILEVEL),
    "batch weights": Case(functools.partial(rules.multilevel, inter_weight=0.5, class_weights="batch")),
    "priors": Case(functools.partial(rules.multilevel, inter_weight=None, class_weights="priors")),
    "mixed batches": Case(functools.partial(rules.inter, **WEIGHTED), mixed=True),
    "batch norm": Case(MULTILEVEL, norm="batch"),
    "image steps": Case(MULTILEVEL, image_steps=2),
    "siamese": Case(MULTILEVEL, image_steps=2, siamese=True),
    "siamese intra": Case(rules.intra, siamese=True),
    "formed": Case(MULTILEVEL, siamese=True, factor=2),
    "siamese mixed batches": Case(functools.partial(rules.inter, **WEIGHTED), mixed=True, siamese=True),
}


def batches(case: Case) -> list[RealBatch]:
    """For each update 4, 3 and 5 real images; or, of any class, 7."""
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
    """S after two outer iterations, and the losses on the way."""
    start = random_images(CLASSES, IPC, 2, 8, 8)
    module = Condenser(
        Pixels(start) if case.factor == 1 else MultiFormation(start, case.factor),
        factory=lambda: small_network(case.norm).to(dtype),
        engine=gradient_engine(microbatch=2, classes_per_block=1),
        classes_per_chunk=chunk,
        matching=case.rule,
        distance=DISTANCE,
        schedule=functools.partial(schedules.until_overfit, criterion="rise", margin=0.5, limit=4),
        schedule_unit="epochs",
        class_names=("a", "b", "c"),
        priors=[0.5, 0.3, 0.2],
        updates=UPDATES,
        image_steps=case.image_steps,
        image_lr=0.1,
        image_momentum=0.5,
        network_lr=0.01,
        network_momentum=0.5,
        train_batch=4,
        matched_synthetic=4,
        diagnose_every=1,
        seed=3,
        siamese=siamese() if case.siamese else None,
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


def everything(strategy: Callable[[], Any]) -> dict[str, Any]:
    """By case, chunk and precision."""
    wanted = [(name, None, torch.float64) for name in CASES]
    wanted += [("multilevel", 1, torch.float64), ("intra", None, torch.float32)]
    return {
        f"{name}, chunk {chunk}, {dtype}": condense(CASES[name], chunk, strategy, dtype)
        for name, chunk, dtype in wanted
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    outcome = everything(lambda: DDPStrategy(process_group_backend="gloo"))
    known = ranks.gather({ranks.rank: float(ranks.rank)})
    torch.save(outcome | {"known": known}, Path(sys.argv[1]) / f"{ranks.rank}.pt")
    ranks.shut_down()
