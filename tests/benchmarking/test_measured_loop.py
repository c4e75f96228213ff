"""Counts of the images that an outer iteration works on, by hand."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gmlight.benchmarking.measured_loop import MeasuredLoop
from gmlight.condensation.image_updates import ImageUpdates
from gmlight.data.images import RealBatch
from gmlight.matching import rules
from gmlight.runtime.profiling import PartTimer
from gmlight.runtime.seeding import generator
from helpers.condensers import condenser
from helpers.problems import random_images
from helpers.runs import composed


class Pipe:
    """Asks for the same task again, and then for the end."""

    def __init__(self, tasks: list[str]) -> None:
        self.tasks, self.sent = iter(tasks), []

    def recv(self) -> str:
        return next(self.tasks)

    def send(self, measured: dict[str, Any]) -> None:
        self.sent.append(measured)


# Images of the prefixes of k = 0 and of k = 1, each for t = 0 and 1.
MULTI = [
    sum(int(torch.randint(1, 3, (), generator=generator(0, "prefix", k, t))) for t in (0, 1)) for k in (0, 1)
]
WORDS = ("ipc=3", "updates=2", "image_steps=5", "train_batch=8", "matching=inter")


@pytest.mark.parametrize(
    ("words", "mixed", "counts"),
    [
        # 30 images, twice, in five steps each; zeta 4, then 6 epochs on 30 images.
        ((), False, [(24, 300, 4 * 30), (24, 300, 6 * 30)]),
        # Steps of eight images.
        (("schedule.unit=steps",), False, [(24, 300, 4 * 8), (24, 300, 6 * 8)]),
        # Nine synthetic images against seven real ones.
        (("matching.mixed_real=7", "matching.mixed_synthetic=9"), True, [(14, 90, 120), (14, 90, 180)]),
        (("synthetic=multi_formation", "synthetic.factor=2"), False, [(24, 1200, 480), (24, 1200, 720)]),
        # Two of the three images of a class.
        (("synthetic_batch=2",), False, [(24, 200, 120), (24, 200, 180)]),
        (("synthetic_batch=4",), False, [(24, 300, 120), (24, 300, 180)]),
        # Besides all three images of a class, the first one or two.
        (("multi_size=true",), False, [(24, 300 + 50 * MULTI[0], 120), (24, 300 + 50 * MULTI[1], 180)]),
    ],
)
def test_counts_of_two_iterations(words: tuple[str, ...], mixed: bool, counts: list[tuple]) -> None:
    module, pipe = condenser(random_images(3, 1, 2, 8, 8), 2, [1]), Pipe(["iteration", "end"])
    loop = MeasuredLoop(pipe, "iteration", PartTimer(torch.device("cpu")), composed(*WORDS, *words))  # type: ignore[arg-type]
    trainer: Any = SimpleNamespace(should_stop=False)
    loop.on_train_start(trainer, module)
    classes = tuple(torch.zeros(n, 1, 8, 8) for n in (3, 4, 5))
    for k, zeta in enumerate((4, 6)):
        assert not trainer.should_stop
        for t in range(2):
            batch = RealBatch(k, t, classes)
            if mixed:
                batch = RealBatch(k, t, (), matched=(torch.zeros(7, 1, 8, 8), torch.zeros(7).long()))
            if t == 0:
                module.zeta_used[0].append(zeta)
            loop.on_train_batch_end(trainer, module, None, batch, 0)
    assert trainer.should_stop
    names = ("real_images", "synthetic_images", "trained_images")
    assert [tuple(measured[name] for name in names) for measured in pipe.sent] == counts


@pytest.mark.parametrize(("rule", "images"), [(rules.intra(), 150), (rules.multilevel(), 450)])
def test_steps_of_single_classes_are_counted(rule: rules.MatchingRule, images: int) -> None:
    """Of three classes: means over classes need all of them at each step."""
    updates = ImageUpdates(by_class=True)
    module = condenser(random_images(3, 1, 2, 8, 8), 1, [], matcher={"rule": rule}, image_updates=updates)
    loop = MeasuredLoop(Pipe(["iteration"]), "iteration", PartTimer(torch.device("cpu")), composed(*WORDS))  # type: ignore[arg-type]
    loop.on_train_start(SimpleNamespace(should_stop=False), module)  # type: ignore[arg-type]
    module.updates = 2  # the first is not the last
    batch = RealBatch(0, 0, tuple(torch.zeros(n, 1, 8, 8) for n in (3, 4, 5)))
    loop.on_train_batch_end(None, module, None, batch, 0)  # type: ignore[arg-type]
    assert loop._counts["synthetic_images"] == images
