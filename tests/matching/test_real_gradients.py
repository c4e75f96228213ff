"""The memory of class gradients is checked before a run begins."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from gmlight.errors import ConfigError
from gmlight.matching import real_gradients

# Weights [500, 1000] and [7, 500] are matched, the bias is not: 503,500 numbers of 4 bytes.
NETWORK = nn.Sequential(nn.Linear(1000, 500, bias=False), nn.Linear(500, 7, bias=True)).to("meta")


@pytest.mark.parametrize(("memory", "fits"), [(3000 * 503_500 * 4, True), (3000 * 503_500 * 4 - 1, False)])
def test_gradients_of_all_classes_must_fit_the_memory(
    monkeypatch: pytest.MonkeyPatch, memory: int, fits: bool
) -> None:
    monkeypatch.setattr(real_gradients, "total_memory", lambda device: memory)
    if fits:
        real_gradients.check_memory(NETWORK, 3000, torch.device("cpu"))
        return
    with pytest.raises(ConfigError, match=r"of 3000 classes need 5.6 GiB, the cpu has 5.6; use a smaller"):
        real_gradients.check_memory(NETWORK, 3000, torch.device("cpu"))


@pytest.mark.parametrize(
    ("words", "refused"),
    [([], True), (["iterations=0", "initialization=real"], False),
     (["matching=inter", "matching.mixed_real=8"], False)],
)  # fmt: skip
def test_run_that_does_not_fit_is_refused_before_it_begins(
    run: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    refused: bool,
) -> None:
    monkeypatch.setattr(real_gradients, "total_memory", lambda device: 1000)
    if refused:
        with pytest.raises(ConfigError, match="the gradients of 10 classes need"):
            run(*words)
        assert [*(tmp_path / "run0").iterdir()] == []
    else:
        assert (run(*words) / "result.json").exists()
