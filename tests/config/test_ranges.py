"""Both ends of the range of every key, written a second time."""

from collections.abc import Iterator
from typing import Any

import pytest
from omegaconf import OmegaConf

from gmlight.config import ranges
from gmlight.config.ranges import check_ranges
from gmlight.errors import ConfigError

TOO_LARGE = 2**63
NOT_NUMBERS: list[Any] = ["x", None, float("nan"), float("inf")]
FROM_0 = ("part", "space.draws", "layout.experiment",
          "iterations", "synthetic_batch", "mixed_batch", "seed", "diagnose_every", "compare",
          "dataset.load.split_seed",
          "evaluation.every", "evaluation.baselines.random", "evaluation.baselines.whole",
          "matching.mixed_real", "sampling.steps", "sampling.candidates")  # fmt: skip
FROM_1 = ("pool.networks", "networks", "reference.epochs", "budget_epochs", "jobs", "parts", "orders",
          "ipc", "updates", "image_steps", "real_batch", "statistics_batch", "train_batch", "log_every",
          "rounds", "dataset.images", "real_images", "checkpoint.every", "evaluation.networks",
          "evaluation.epochs", "evaluation.batch_size", "evaluation.quick_networks", "schedule.limit",
          "matching.mixed_synthetic", "initialization.epochs", "initialization.batch_size",
          "initialization.network.width", "sampling.every", "sampling.nearest", "synthetic.factor",
          "sampling.networks",
          "synthetic.images", "architecture.width", "architecture.depth", "augmentation.evaluation_epochs",
          "augmentation.padding", "augmentation.degrees")  # fmt: skip
FROM_2 = ("points", "dataset.number", "steps")
AUTO = ("speed.microbatch", "speed.classes_per_block", "memory.classes_per_chunk", "evaluation.test_batch",
        "evaluation.networks_at_once")  # fmt: skip
ABOVE_0 = ("distillation.temperature",
           "image_lr", "network_lr", "evaluation.lr", "evaluation.fall", "pool.epochs", "distance.weight",
           "checkpoint.minutes", "memory.device_share", "initialization.lr")  # fmt: skip
NOT_NEGATIVE = ("augmentation.brightness", "augmentation.contrast", "augmentation.rotate",
                "augmentation.saturation", "augmentation.noise", "evaluation.weight_decay",
                "network_weight_decay", "distillation.weight", "pool.least", "pool.most",
                "schedule.margin", "initialization.weight_decay")  # fmt: skip
BELOW_1 = (
    "image_momentum",
    "image_lr_warmup",
    "network_momentum",
    "evaluation.momentum",
    "initialization.momentum",
    "holdout",
    "sampling.drop",
)
UP_TO_1 = ("augmentation.crop", "augmentation.cutout", "augmentation.flip", "evaluation.cutmix",
           "network_cutmix")  # fmt: skip
OPTIONS: dict[str, tuple[list[Any], list[Any]]] = {  # key: accepted, refused
    "network_images": (["synthetic", "real"], ["both", True]),
    "network_start": (["fresh", "pool"], ["trained", None]),
    "image_lr_decay": (["none", "linear", "cosine"], ["step", None]),
    "budget": ([True, False], ["x", None]),
    "frontier": ([True, False], ["x", None]),
    "push_private": ([True, False], ["x", None]),
    "push_update": ([True, False], ["x", None]),
    "carry": ([True, False], ["x", None]),
    "proxies.random": ([True, False], ["x", None]),
    "proxies.herding": ([True, False], ["x", None]),
    "proxies.early_stop": ([True, False], ["x", None]),
    "clip_images": ([True, False], ["x", None]),
    "multi_size": ([True, False], ["x", None]),
    "soft_labels": (["probabilities", "logits"], ["hard", True, None]),
    "matching.step": (["all", "class"], ["classes", None]),
    "initialization.features": (["network", "pixels"], ["images"]),
    "dataset.fit": (["squash", "crop", "pad"], ["stretch", None]),
    "dataset.skip_unreadable": ([True, False], ["yes", None]),
    "dataset.cache": ([True, False], ["auto", None]),
    "schedule.criterion": (["rise", "gap"], ["fall"]),
    "schedule.unit": (["epochs", "steps"], ["step"]),
    "evaluation.batch_norm": (["instance", "batch"], ["layer"]),
    "dry_run": ([True, False], ["no", None]),
    "speed.allocator": (["auto", "off"], [True]),
    "speed.compile": ([True, False, "auto"], ["on", None]),
    "speed.precision": (["float32", "tf32", "bfloat16"], ["float16"]),
    "speed.network_precision": (["float32", "bfloat16"], ["tf32", None]),
    "evaluation.precision": (["float32", "bfloat16"], ["tf32", None]),
    "dataset.load.test_share": ([0.01, 0.99], [0, 1, "x"]),
    "dataset.name": (["a", "my set"], ["", "  ", 3, None]),
    "matching.inter_weight": ([None, 1e-9, 3], [0, -1, "x"]),
    "matching.layers": (["all", "conv", 0.01, 1], ["linear", 0, 1.01, None]),
    "evaluation.falls": ([[], [0.5], [0.2, 0.9]], [0.5, [0], [1], [0.5, 0.5], [0.6, 0.3], ["x"], None]),
}


def cases() -> Iterator[tuple[str, list[Any], list[Any]]]:
    for least, keys in ((0, FROM_0), (1, FROM_1), (2, FROM_2)):
        for key in keys:
            yield key, [least, least + 1, TOO_LARGE - 1], [least - 1, TOO_LARGE, 1.5, True, *NOT_NUMBERS]
    for key in AUTO:
        yield key, ["auto", 1, 7], [0, -1, 1.5, True, "off", None]
    for key in ABOVE_0:
        yield key, [1e-9, 1, 1e6], [0, -1e-9, True, *NOT_NUMBERS]
    for key in NOT_NEGATIVE:
        yield key, [0, 1e-9, 1e6], [-1e-9, True, *NOT_NUMBERS]
    for key in BELOW_1:
        yield key, [0, 0.999], [-0.001, 1, True, *NOT_NUMBERS]
    for key in UP_TO_1:
        yield key, [0, 0.5, 1], [-0.001, 1.001, True, *NOT_NUMBERS]
    for key, (accepted, refused) in OPTIONS.items():
        yield key, accepted, refused


CASES = {key: (accepted, refused) for key, accepted, refused in cases()}


@pytest.mark.parametrize("key", CASES)
def test_range(key: str) -> None:
    accepted, refused = CASES[key]
    for value in (*accepted, *refused):
        config = OmegaConf.create()
        OmegaConf.update(config, key, value)
        if value in refused and not any(value is each for each in accepted):
            with pytest.raises(ConfigError, match="must be") as error:
                check_ranges(config)
            assert str(error.value).startswith(f"{key}={value}: ")
        else:
            check_ranges(config)


def test_every_range_is_here() -> None:
    assert {key for key, _, _ in ranges._rules()} == CASES.keys()
