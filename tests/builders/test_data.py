"""The source of the images gets the values of its own keys; all values differ."""

from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch.plugins.environments import LightningEnvironment

from gmlight.builders.data import build_data, build_source, load_data
from helpers.runs import composed


def test_source_has_the_values_of_its_dataset() -> None:
    words = ["dataset=cifar10", "dataset.size=[16,24]", "dataset.mean=[.1,.2,.3]", "dataset.std=[.4,.5,.6]"]
    source = build_source(composed(*words, "holdout=0.15", "download=false"))
    assert source.shape == (3, 16, 24)
    assert (list(source.mean or ()), list(source.std or ())) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    assert (source.holdout, source.download) == (0.15, False)
    assert list(source.classes)[::9] == ["airplane", "truck"]


class Loads:
    """A data module that notes which of its steps are called."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def prepare_data(self) -> None:
        self.calls.append("prepare")

    def load(self, device: str) -> "Loads":
        self.calls.append(device)
        return self


@pytest.mark.parametrize(
    ("world", "rank", "calls"), [(1, 0, ["prepare", "cpu"]), (2, 0, ["prepare", "cpu"]), (2, 1, ["cpu"])]
)
def test_one_process_of_a_node_downloads(world: int, rank: int, calls: list[str]) -> None:
    """Of the processes that Lightning starts, the first, before the others exist."""
    environment = LightningEnvironment()
    trainer: Any = SimpleNamespace(
        world_size=world, local_rank=rank,
        strategy=SimpleNamespace(cluster_environment=environment, root_device="cpu"),
    )  # fmt: skip
    data: Any = Loads()
    assert load_data(data, trainer) is data
    assert data.calls == calls


def test_batches_have_the_sizes_of_their_own_keys() -> None:
    words = ["real_batch=5", "mixed_batch=7", "statistics_batch=3", "updates=4", "seed=6"]
    config = composed(*words, "matching=inter", "matching.mixed_real=11", "memory.device_share=0.125")
    data = build_data(config, statistics=True)
    assert (data.batches.real, data.batches.mixed) == (5, 7)
    assert (data.batches.statistics, data.batches.matched) == (3, 11)
    assert (data.updates, data.seed) == (4, 6)
    assert build_data(config).batches.statistics == 0
