"""Rows of metrics, by hand: means since the last row, the update's number, iterations per second."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gmlight.callbacks import metrics
from gmlight.callbacks.metrics import MetricsLines
from gmlight.condensation.condenser import Condenser
from helpers.condensers import condenser
from helpers.problems import random_images


class Logger:
    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, Any]]] = []

    def log_metrics(self, row: dict[str, Any], step: int) -> None:
        self.rows.append((step, row))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that is set by hand."""
    now = [0.0]
    monkeypatch.setattr(metrics.time, "monotonic", lambda: now[0])
    return now


def update(callback: MetricsLines, module: Condenser, trainer: Any, step: int, **values: float) -> None:
    """Ends the update with this number, of outer iterations of two updates."""
    module.metrics = {name.replace("__", "/"): torch.tensor(value) for name, value in values.items()}
    trainer.global_step = step + 1
    batch = SimpleNamespace(k=step // 2, t=step % 2)
    callback.on_train_batch_end(trainer, module, None, batch, step)


def test_rows(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "peak_bytes", lambda device: 3 * 2**29)
    module, logger = condenser(random_images(3, 1, 2, 8, 8), 2, [1]), Logger()
    trainer: Any = SimpleNamespace(global_step=0, loggers=[logger])
    callback = MetricsLines(every=2)
    callback.on_train_start(trainer, module)
    seconds = {2: 4.0, 4: 5.0}
    for step, (total, intra, zeta, norm) in enumerate(
        [(5.0, 1.0, 30.0, 7.0), (3.0, 2.0, 0.0, 8.0), (9.0, 4.0, 20.0, 9.0), (1.0, 6.0, 0.0, 10.0)]
    ):
        clock[0] = seconds.get(step + 1, clock[0])
        terms = {"matching_loss__total": total, "matching_loss__intra": intra, "zeta": zeta}
        update(callback, module, trainer, step, **terms, gradient_norm=norm)
    for _, row in logger.rows:
        assert row.pop("memory/peak_gib") == 1.5
    assert logger.rows == [
        (1, {"matching_loss/total": 4.0, "matching_loss/intra": 1.5, "zeta": 15.0, "gradient_norm": 8.0,
             "iteration": 1, "t": 1, "speed/iterations_per_second": 0.25}),
        (3, {"matching_loss/total": 5.0, "matching_loss/intra": 5.0, "zeta": 10.0, "gradient_norm": 10.0,
             "iteration": 2, "t": 1, "speed/iterations_per_second": 1.0}),
    ]  # fmt: skip


def test_a_term_of_some_updates_is_averaged_over_those(clock: list[float]) -> None:
    """As `inter` with interleaved matching; the state survives a resume."""
    module, logger = condenser(random_images(3, 1, 2, 8, 8), 2, [1]), Logger()
    trainer: Any = SimpleNamespace(global_step=0, loggers=[logger])
    first, second = MetricsLines(every=3), MetricsLines(every=3)
    first.on_train_start(trainer, module)
    update(first, module, trainer, 0, matching_loss__inter=2.0, matching_loss__total=2.0)
    second.load_state_dict(first.state_dict())
    second.on_train_start(trainer, module)
    update(second, module, trainer, 1, matching_loss__intra=5.0, matching_loss__total=5.0)
    clock[0] = 1.0
    update(second, module, trainer, 2, matching_loss__inter=4.0, matching_loss__total=4.0)
    ((step, row),) = logger.rows
    assert (step, row["matching_loss/inter"], row["matching_loss/intra"]) == (2, 3.0, 5.0)
    assert row["matching_loss/total"] == pytest.approx(11 / 3)
    assert (row["iteration"], row["t"]) == (2, 0)
