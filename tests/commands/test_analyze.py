"""What gmlight.analyze prints: means over the networks."""

import io
import json
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


@pytest.mark.parametrize(
    ("architectures", "names"),
    [
        (["convnet, width=8"], ["trajectory"]),
        (["mlp", "convnet (instance)"], ["trajectory-mlp", "trajectory-convnet"]),
    ],
)
def test_each_architecture_has_files_of_its_own(
    architectures: list[str], names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = SimpleNamespace(train=SimpleNamespace(draw_mixed=lambda n, rng: (torch.zeros(n), torch.zeros(n))))
    stored = SimpleNamespace(data=draw, evaluators=dict.fromkeys(architectures), metadata={}, device="cpu")
    points = [[Point(epoch, 1.0, 2.0, 30.0, 0.5, 0.7) for epoch in (0, 1)]] * 2
    clock = iter([100.0, *[103.5] * len(names)])
    monkeypatch.setattr(analyze.time, "monotonic", lambda: next(clock))
    for name, value in {
        "open_set": lambda *_: stored,
        "describe_use": lambda config: SimpleNamespace(as_dict=lambda: {"command": "x"}),
        "headline": lambda metadata: "a set",
        "measure_networks": lambda *_: points,
    }.items():
        monkeypatch.setattr(analyze, name, value)
    monkeypatch.setattr(analyze.results, "origin", lambda metadata: "from")
    monkeypatch.setattr(analyze.results, "environment", lambda device: {"device": device})
    analyze.analyze(SimpleNamespace(seed=1, real_images=3), tmp_path)  # type: ignore[arg-type]
    assert {path.stem for path in tmp_path.glob("*.json")} == set(names)
    assert {path.stem for path in tmp_path.iterdir()} == set(names)
    for architecture, name in zip(architectures, names, strict=True):
        content = json.loads((tmp_path / f"{name}.json").read_text())
        assert (content["target"], content["set"], content["command"]) == (architecture, "from", "x")
        assert content["seconds"] == {"analysis": 3.5}
        assert len(content["networks"]) == 2
        assert content["networks"][0][1] == {
            "epoch": 1, "norm_synthetic": 1.0, "norm_real": 2.0, "angle": 30.0, "loss_synthetic": 0.5,
            "loss_real": 0.7,
        }  # fmt: skip


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
