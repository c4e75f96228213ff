"""Which process is the main one, by the launchers' variables."""

import pytest
from lightning.fabric.utilities import rank_zero

from gmlight.runtime.rank import is_main

VARIABLES = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")


@pytest.mark.parametrize(
    ("ranks", "main"),
    [
        ({}, True),
        ({"RANK": 0, "LOCAL_RANK": 0}, True),
        ({"RANK": 4, "LOCAL_RANK": 0}, False),  # the first process of the second node
        ({"RANK": 0, "LOCAL_RANK": 3}, True),
        ({"LOCAL_RANK": 1}, False),
        ({"LOCAL_RANK": 1, "SLURM_PROCID": 0}, False),
        ({"SLURM_PROCID": 2}, False),
        ({"SLURM_PROCID": 0, "JSM_NAMESPACE_RANK": 1}, True),
        ({"JSM_NAMESPACE_RANK": 1}, False),
    ],
)
def test_before_lightning_knows_the_rank(
    ranks: dict[str, int], main: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank_zero.rank_zero_only, "rank", None)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, rank in ranks.items():
        monkeypatch.setenv(name, str(rank))
    assert is_main() == main


@pytest.mark.parametrize("rank", [0, 1])
def test_lightnings_rank_counts_if_it_is_known(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero.rank_zero_only, "rank", rank)
    monkeypatch.setenv("RANK", str(1 - rank))
    assert is_main() == (rank == 0)
