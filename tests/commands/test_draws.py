"""Every random draw of a run comes from its seed, under its own name, for its own k and t."""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from gmlight.runtime import seeding

EVALUATION = {"evaluation-network": {(0,), (1,)}, "evaluation-batches": {(0,), (1,)}}
START = {"initialization": {()}, "synthetic": {()}, "network": {(0,), (1,)}}  # a network for each k
UPDATES = {(k, t) for k in range(2) for t in range(2)}
NOT_LAST = {(0, 0), (1, 0)}  # the network is not trained after the last t
NO_BASELINE = "evaluation.baselines.random=0"
CASES = {
    "class batches": (
        ["method=md"],
        {"real-batch": UPDATES, "network-batches": NOT_LAST, "random-baseline": {()}},
    ),
    "siamese": (
        ["method=dsa", NO_BASELINE],
        {
            "real-batch": UPDATES, "network-batches": NOT_LAST,
            "siamese": {(k, t, c) for k, t in UPDATES for c in range(10)},
        },
    ),
    "mixed batches": (
        ["matching=inter", "matching.mixed_real=64", NO_BASELINE],
        {
            "matched-batch": UPDATES, "matched-synthetic": UPDATES,
            "network-batches": NOT_LAST,
        },
    ),
    "batch norm, a loss that stops": (
        ["architecture=convnet_bn", "schedule=until_overfit", "mixed_batch=16", NO_BASELINE],
        {
            "real-batch": UPDATES, "statistics-batch": UPDATES,
            "mixed-batch": UPDATES, "network-batches": NOT_LAST,
        },
    ),
    "representatives, chosen anew at each k": (
        ["sampling=representative", "sampling.every=1", "sampling.steps=2", "real_batch=4", NO_BASELINE],
        {
            "representatives-clusters": {(k, c) for k in range(2) for c in range(10)},
            "representatives-network": {(0,), (1,)}, "representatives-batches": {(0,), (1,)},
            "real-batch": UPDATES, "network-batches": NOT_LAST,
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_draws_of_a_run(name: str, run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    words, expected = CASES[name]
    drawn: defaultdict[str, set[tuple[int, ...]]] = defaultdict(set)
    seeds: set[int] = set()
    derive = seeding._derive

    def record(seed: int, purpose: str, *indices: int) -> int:
        seeds.add(seed)
        drawn[purpose].add(indices)
        return derive(seed, purpose, *indices)

    monkeypatch.setattr(seeding, "_derive", record)
    run("seed=11", *words)
    assert seeds == {11}
    assert dict(drawn) == expected | START | EVALUATION


def test_a_draw_depends_on_seed_name_and_indices() -> None:
    given = [(0, "a", 1, 2), (1, "a", 1, 2), (0, "b", 1, 2), (0, "a", 2, 1), (0, "a", 1), (0, "a", 12)]
    values = {seeding.generator(*each).initial_seed() for each in given}  # type: ignore[arg-type]
    assert len(values) == len(given)
    # sha256("7/real-batch/3/1"), its first eight bytes, little-endian and signed
    assert seeding.generator(7, "real-batch", 3, 1).initial_seed() == 5491080533470633197
