"""Draws depend on seed, purpose and indices only."""

import torch

from gmlight.runtime.seeding import generator, seeded


def draw(*words: object) -> list[float]:
    return torch.randn(4, generator=generator(*words)).tolist()  # type: ignore[arg-type]


def test_draw_depends_on_seed_purpose_and_indices() -> None:
    words = [
        (0, "a"),
        (1, "a"),
        (0, "b"),
        (0, "a", 0),
        (0, "a", 1),
        (0, "a", 1, 0),
        (0, "a", 0, 1),
        (0, "a", 10),
        (0, "a", 1, 0, 0),
    ]
    draws = [tuple(draw(*w)) for w in words]
    assert len(set(draws)) == len(words)
    assert draws == [tuple(draw(*w)) for w in words]


def test_seeded_block_restores_the_global_generator() -> None:
    torch.manual_seed(1)
    expected = torch.randn(2)
    torch.manual_seed(1)
    with seeded(0, "network", 3):
        first = torch.randn(3)
    assert torch.equal(torch.randn(2), expected)
    with seeded(0, "network", 3):
        assert torch.equal(torch.randn(3), first)
