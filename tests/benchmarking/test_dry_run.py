"""Dry runs: their predictions, and that they write nothing."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gmlight.benchmarking import dry_run
from gmlight.benchmarking.dry_run import Plan, Steps, condensing_seconds
from gmlight.data.images import LabelledImages
from gmlight.runtime.profiling import PartTimer
from gmlight.training.evaluator import EvaluatedSet
from gmlight.training.protocol import EvaluationProtocol
from gmlight.training.steps import SGDSettings
from helpers.condensers import condenser
from helpers.problems import random_images
from helpers.runs import SMOKE, TINY, Run, refusal


def test_dry_run_writes_nothing(typed: Run, tmp_path: Path) -> None:
    result = typed("train", *SMOKE, "dry_run=true", "logger=[csv,wandb]")
    assert result.returncode == 0, result.stderr
    for foretold in (
        "an image update",
        "condensing",
        "evaluating",
        "quick evaluations",
        "in all",
        "memory",
        "disk",
    ):
        assert re.search(f"^{foretold} ", result.stdout, re.MULTILINE), foretold
    assert "2 on the set, 2 on random images, 1 on whole train set" in result.stdout
    assert not any(tmp_path.iterdir())


def test_a_dry_run_takes_a_few_steps(typed: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 36, and those that a shorter run has."""
    steps, build = [], dry_run.build_trainer

    def noted(*arguments: Any, **options: Any) -> Any:
        steps.append(options["updates"])
        trainer = build(*arguments, **options)
        steps.append(trainer.max_steps)
        return trainer

    monkeypatch.setattr(dry_run, "build_trainer", noted)
    for iterations, expected in ((12, 4), (1, 3)):
        words = ("updates=3", f"iterations={iterations}", "dry_run=true", "evaluation.baselines.random=0")
        assert typed("train", *TINY, *words).returncode == 0
        assert steps == [expected, expected]
        steps.clear()


def test_dry_run_without_condensation(typed: Run, tmp_path: Path) -> None:
    result = typed("train", *TINY, "method=whole", "dry_run=true")
    assert result.returncode == 0, result.stderr
    assert "condensing" not in result.stdout
    assert "evaluating" in result.stdout
    shortest = typed("train", *TINY, "ipc=1", "iterations=1", "dry_run=true")  # one image update
    assert "K=1, T=1" in shortest.stdout
    assert not any(tmp_path.iterdir())


def test_dry_runs_of_a_sweep_and_of_a_blank_cell_write_nothing(typed: Run, tmp_path: Path) -> None:
    result = typed("train", "-m", *TINY, "dry_run=true", "seed=0,1")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("nothing was written") == 2
    assert "report" not in result.stdout
    words = ["experiment=table3", "hydra.mode=RUN", "dataset=digits", "ipc=1", "method=mdo", "seed=0"]
    assert "not applicable" in typed("train", *words, "dry_run=true").stdout
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_dry_run_refuses_the_same_settings_as_a_run(typed: Run, tmp_path: Path) -> None:
    assert "ipc=0" in refusal(typed("train", "ipc=0", "dry_run=true"))
    assert "class '" in refusal(typed("train", *TINY, "ipc=500", "initialization=real", "dry_run=true"))
    assert "dry_run=2" in refusal(typed("train", "dry_run=2"))
    assert not any(tmp_path.iterdir())
    assert typed("train", *TINY, "hydra.run.dir=made").returncode == 0
    before = sorted(tmp_path.rglob("*"))
    assert "leave out resume=" in refusal(typed("train", "resume=made", "dry_run=true"))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("ipc", "least"), [(1, 0.5), (10, 0.1)])
def test_predicted_disk_space_is_enough(
    typed: Run, forked: Run, tmp_path: Path, ipc: int, least: float
) -> None:
    words = [*TINY, f"ipc={ipc}", "iterations=4", "evaluation.every=1", "log_every=1", "schedule=fixed"]
    words += ["schedule.epochs=1"]
    found = re.search(r"^disk +([\d.]+) MiB", typed("train", *words, "dry_run=true").stdout, re.MULTILINE)
    assert found is not None
    assert forked("train", *words, "hydra.run.dir=made").returncode == 0  # with the curves of its page
    taken = sum(path.stat().st_size for path in (tmp_path / "made").rglob("*") if path.is_file()) / 2**20
    # At ipc 10 checkpoints also contain a network.
    assert least * float(found[1]) <= taken <= 1.1 * float(found[1])


def steps(*rows: tuple[float, float, float]) -> Steps:
    """Measured steps: seconds, seconds of network training, zeta; the first step is the warm-up."""
    measured = Steps(PartTimer(torch.device("cpu")))
    for seconds, network, zeta in ((99.0, 9.0, 9.0), *rows):
        measured.seconds.append(seconds)
        measured.network_seconds.append(network)
        measured.zetas.append(zeta)
    return measured


def plan(updates: int, iterations: int = 10) -> Plan:
    return Plan(iterations, updates, evaluate_every=4, quick_networks=5, log_every=10)


def test_predicted_seconds_follow_the_schedule() -> None:
    module = condenser(random_images(2, 2, 2, 8, 8), 4, [30, 20, 10])
    measured = steps((5.0, 3.0, 30), (4.0, 2.0, 20), (3.0, 1.0, 10))
    # Per iteration: four matchings of 2 s, and 30 + 20 + 10 epochs of 0.1 s.
    assert condensing_seconds(measured, module, plan(4)) == pytest.approx((2.0, 10 * (4 * 2.0 + 6.0)))


def test_predicted_seconds_without_network_training() -> None:
    module = condenser(random_images(2, 2, 2, 8, 8), 1, [])
    assert condensing_seconds(steps((2.0, 0.0, 0), (3.0, 0.0, 0)), module, plan(1)) == pytest.approx(
        (2.5, 25.0)
    )


def test_loss_measured_schedule_is_predicted_from_measured_epochs() -> None:
    def looking(t: int, losses: object) -> Iterator[None]:
        losses.real()  # type: ignore[attr-defined]
        yield

    module = condenser(random_images(2, 2, 2, 8, 8), 3, [], inner_loop={"schedule": looking})
    measured = steps(
        (3.0, 1.0, 10), (4.0, 2.0, 20), (2.0, 0.0, 0)
    )  # the network is not trained after the last t
    assert condensing_seconds(measured, module, plan(3)) == pytest.approx(
        (2.0, 10 * (3 * 2.0 + 2 * 15 * 0.1))
    )


def test_predicted_seconds_of_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small sets take 0.01 s per epoch and image, the whole set half of it; each network is tested in 2 s."""

    class Images(LabelledImages):
        def __init__(self, count: int) -> None:
            super().__init__(torch.zeros(count, 1, 1, 1), torch.zeros(count).long())

    def seconds(evaluator: object, images: LabelledImages, networks: int) -> tuple[float, float]:
        asked.append((len(images), networks))
        return (0.01 if len(images) == 20 else 0.005), 2.0

    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(dry_run, "evaluation_seconds", seconds)
    monkeypatch.setattr(dry_run, "_few", lambda data: Images(256))
    protocol = EvaluationProtocol(epochs=30, sgd=SGDSettings(batch_size=256))
    evaluators = {name: SimpleNamespace(protocol=protocol) for name in ("convnet", "mlp")}
    run: Any = SimpleNamespace(
        evaluation=SimpleNamespace(evaluators=evaluators), condenser=object(), data=None
    )
    sets = [
        EvaluatedSet("the set", Images(20), 5),
        EvaluatedSet("random", Images(20), 3),
        EvaluatedSet("one mini-batch", Images(256), 1),
        EvaluatedSet("whole", Images(1000), 2),
    ]
    final, quick = dry_run._evaluations_seconds(run, sets, plan(4))
    # Each architecture: 8 networks of 30 epochs of 20 images, 1 of 256, 2 of 1000 images, and 11 tests.
    small, large = 30 * (8 * 20 + 256) * 0.01, 2 * 30 * 1000 * 0.005
    assert final == pytest.approx(2 * (small + large + 11 * 2.0))
    # On the first architecture: twice five networks.
    assert quick == pytest.approx(2 * 5 * (30 * 20 * 0.01 + 2.0))
    assert asked == [(20, 5), (256, 2)] * 2


@pytest.mark.parametrize(("iterations", "every", "expected"), [(10, 4, 2), (8, 4, 1), (10, 0, 0), (1, 1, 0)])
def test_predicted_number_of_quick_evaluations(
    run: Callable[..., Path], iterations: int, every: int, expected: int
) -> None:
    assert Plan(iterations, 1, every, 5, 10).evaluations == expected
    folder = run(
        "ipc=1", f"iterations={iterations}", f"evaluation.every={every}", "evaluation.quick_networks=1"
    )
    assert len(list((folder / "samples").glob("*.png"))) == expected + 2  # at the start and at the end


def test_seconds_of_an_evaluation_are_per_network_epoch_and_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two networks at once: 24 s for three epochs of eight images each, and 10 s for their tests."""
    timed = iter([24.0, 10.0])
    monkeypatch.setattr(dry_run, "EPOCHS", 3)
    monkeypatch.setattr(dry_run, "measure_seconds", lambda function, device: (function(), next(timed))[1])
    asked: list[tuple[str, object]] = []

    class Stub:
        test_batch = None
        data = SimpleNamespace(test=SimpleNamespace(device=torch.device("cpu")))

        def with_epochs(self, epochs: int) -> "Stub":
            asked.append(("epochs", epochs))
            return self

        def parallel_networks(self, images: LabelledImages) -> int:
            return 2

        def trained(self, images: LabelledImages, members: list[int]) -> str:
            asked.append(("trained", members))
            return "ensemble"

        def accuracies(self, ensemble: str, networks: int) -> None:
            asked.append((ensemble, networks))

    images = LabelledImages(torch.zeros(8, 1, 4, 4), torch.zeros(8).long())
    stub: Any = Stub()
    assert dry_run.evaluation_seconds(stub, images, 50) == (24 / 2 / 3 / 8, 10 / 2)
    warm_up_and_measured = [("trained", [0, 1])] * 2 + [("ensemble", 50)] * 2
    assert asked == [("epochs", 3), *warm_up_and_measured]


def test_disk_space_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of 300 bytes: one before, one after, and one with each of four quick evaluations."""
    picture = SimpleNamespace(save=lambda file, form: file.write(bytes(300)))
    monkeypatch.setattr(dry_run, "draw_grid", lambda images, info: picture)
    images = LabelledImages(torch.zeros(5, 1, 4, 4), torch.zeros(5).long())  # 320 bytes
    module: Any = SimpleNamespace(inner_loop=SimpleNamespace(factory=lambda: torch.nn.Linear(9, 1)))  # 40
    plan = Plan(iterations=10, updates=3, evaluate_every=2, quick_networks=1, log_every=5)
    assert plan.evaluations == 4
    checkpoints = 2 * (3 * 320 + 2 * 40)
    page = 6 * 400 + dry_run.CURVES  # base64 writes four characters for three bytes
    expected = 320 + checkpoints + 7 * 300 + page + 6 * dry_run.METRICS_LINE
    data: Any = SimpleNamespace(info=None)
    assert dry_run.disk_bytes(module, images, data, plan) == expected
