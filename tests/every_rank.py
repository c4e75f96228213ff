"""What every rank of a test runs: `torchrun ... tests/every_rank.py <folder>`."""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader

from conftest import gradient_engine, random_images, small_network
from gmlight import distances, matching, schedules
from gmlight.condenser import Condenser
from gmlight.data import RealBatch
from gmlight.distributed import ranks
from gmlight.synthetic import Pixels
from test_condenser import Stream

CLASSES, IPC, UPDATES, OUTER = 3, 2, 2, 2
DISTANCE = functools.partial(distances.cos_euclid, weight=1.0)
WEIGHTED = {"inter_weight": None, "class_weights": "equal"}
RULES: dict[str, Any] = {
    "intra": matching.intra,
    "inter": functools.partial(matching.inter, **WEIGHTED),
    "interleaved": functools.partial(matching.interleaved, **WEIGHTED),
    "multilevel": functools.partial(matching.multilevel, **WEIGHTED),
    "batch weights": functools.partial(matching.multilevel, inter_weight=0.5, class_weights="batch"),
    "mixed batches": functools.partial(matching.inter, **WEIGHTED),
}


def batches(name: str) -> list[RealBatch]:
    """For each update 4, 3 and 5 real images; or, of any class, 7."""
    made = []
    for step in range(OUTER * UPDATES):
        images = [random_images(n, 2, 8, 8, seed=10 * step + n) for n in (4, 3, 5)]
        mixed = random_images(7, 2, 8, 8, seed=500 + step), torch.arange(7) % CLASSES
        matched = mixed if name == "mixed batches" else None
        made.append(RealBatch(*divmod(step, UPDATES), () if matched else tuple(images), mixed, None, matched))
    return made


def condense(
    name: str, rule: Any, chunk: int | None, strategy: Callable[[], Any], dtype: torch.dtype
) -> dict[str, Any]:
    """S after two outer iterations, and the losses on the way."""
    module = Condenser(
        Pixels(random_images(CLASSES, IPC, 2, 8, 8)),
        factory=functools.partial(small_network, "instance"),
        engine=gradient_engine(microbatch=2, classes_per_block=1),
        classes_per_chunk=chunk,
        matching=rule,
        distance=DISTANCE,
        schedule=functools.partial(schedules.until_overfit, criterion="rise", margin=0.5, limit=4),
        schedule_unit="epochs",
        class_names=("a", "b", "c"),
        priors=[0.5, 0.3, 0.2],
        updates=UPDATES,
        image_steps=1,
        image_lr=0.1,
        image_momentum=0.5,
        network_lr=0.01,
        network_momentum=0.5,
        train_batch=4,
        matched_synthetic=4,
        seed=3,
    ).to(dtype)
    module.factory = functools.partial(_network, dtype)
    trainer = lightning.Trainer(
        accelerator="cpu", devices=ranks_wanted(), strategy=strategy(), max_steps=OUTER * UPDATES,
        max_epochs=-1,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False,
    )  # fmt: skip
    made = [_as(dtype, batch) for batch in batches(name)]
    trainer.fit(module, DataLoader(Stream(made), batch_size=None))
    return {"images": module.synthetic().detach().clone(), "zeta": module.zeta_used}


def ranks_wanted() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _network(dtype: torch.dtype) -> torch.nn.Module:
    return small_network("instance").to(dtype)


def _as(dtype: torch.dtype, batch: RealBatch) -> RealBatch:
    def cast(pair: Any) -> Any:
        return None if pair is None else (pair[0].to(dtype), pair[1])

    images = tuple(of_class.to(dtype) for of_class in batch.images)
    return RealBatch(batch.k, batch.t, images, cast(batch.mixed), None, cast(batch.matched))


def everything(strategy: Callable[[], Any]) -> dict[str, Any]:
    """By rule, chunk and precision."""
    cases = [(name, None, torch.float64) for name in RULES]
    cases += [("multilevel", 1, torch.float64), ("intra", None, torch.float32)]
    return {
        f"{name}, chunk {chunk}, {dtype}": condense(name, RULES[name], chunk, strategy, dtype)
        for name, chunk, dtype in cases
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    outcome = everything(lambda: DDPStrategy(process_group_backend="gloo"))
    known = ranks.gather({ranks.rank: float(ranks.rank)})
    torch.save(outcome | {"known": known}, Path(sys.argv[1]) / f"{ranks.rank}.pt")
    ranks.leave()
