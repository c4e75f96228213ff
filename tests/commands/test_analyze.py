"""What gmlight.analyze prints: means over the networks."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from gmlight.commands import analyze
from gmlight.commands.analyze import print_points
from gmlight.reporting.dynamics import Point
from gmlight.runtime.seeding import generator


def test_printed_points_are_means_over_the_networks() -> None:
    networks = [
        [Point(epoch, 1.0 + n, 10.0 + n, 50.0 + 2 * n, 0.5 + n, 4.0 + 4 * n) for epoch in (0, 1, 30)]
        for n in (0, 1)
    ]
    screen = io.StringIO()
    print_points("title", networks, Console(file=screen, width=80))
    rows = [line.split() for line in screen.getvalue().splitlines() if line.split()[:1] in (["0"], ["30"])]
    assert rows == [[epoch, "1.5", "10.5", "51", "1", "6"] for epoch in ("0", "30")]


def test_the_seed_draws_the_analyzed_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[int, list[int]]] = []

    def draw(number: int, rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        drawn.append((number, torch.randint(1000, (5,), generator=rng).tolist()))
        return torch.zeros(number, 1, 8, 8), torch.zeros(number)

    stored = SimpleNamespace(data=SimpleNamespace(train=SimpleNamespace(draw_mixed=draw)), evaluators={})
    monkeypatch.setattr(analyze, "open_set", lambda *_: stored)
    monkeypatch.setattr(analyze, "describe_use", lambda config: None)
    for seed in (6, 6, 7):
        analyze.analyze(SimpleNamespace(seed=seed, real_images=9), tmp_path)  # type: ignore[arg-type]
    assert (
        drawn[0]
        == drawn[1]
        == (9, torch.randint(1000, (5,), generator=generator(6, "analyzed-images")).tolist())
    )
    assert drawn[2] != drawn[1]
