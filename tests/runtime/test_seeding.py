"""Draws depend on what they are for and on nothing else."""

import torch

from gmlight.runtime.seeding import generator, seeded


def draw(*words: object) -> list[float]:
    return torch.randn(4, generator=generator(*words)).tolist()  # type: ignore[arg-type]


def test_same_words_same_draw_other_words_another() -> None:
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


def test_seeded_block_gives_the_global_generator_back() -> None:
    torch.manual_seed(1)
    expected = torch.randn(2)
    torch.manual_seed(1)
    with seeded(0, "network", 3):
        first = torch.randn(3)
    assert torch.equal(torch.randn(2), expected)
    with seeded(0, "network", 3):
        assert torch.equal(torch.randn(3), first)
