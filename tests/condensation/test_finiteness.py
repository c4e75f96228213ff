"""Checks of finite numbers are read in order, and later on an accelerator."""

import pytest
import torch

from gmlight.condensation.finiteness import FiniteWatch
from gmlight.errors import NonFiniteError


def test_cpu_results_are_checked_at_once() -> None:
    watch = FiniteWatch()
    watch.note(torch.tensor(True), lambda: "not asked")
    with pytest.raises(NonFiniteError, match="k=1"):
        watch.note(torch.tensor(False), lambda: "k=1")
    watch.settle()


def test_accelerator_results_are_checked_one_update_later(monkeypatch: pytest.MonkeyPatch) -> None:
    class Event:
        def __init__(self, device: torch.device) -> None:
            assert device.type == "meta"

        def record(self) -> None: ...
        def synchronize(self) -> None: ...

    class Elsewhere:
        """The result of a check on another device."""

        device = torch.device("meta")

        def __init__(self, value: bool) -> None:
            self.value = value

        def to(self, device: str, non_blocking: bool) -> torch.Tensor:
            assert non_blocking
            return torch.tensor(self.value)

    monkeypatch.setattr(torch, "Event", Event)
    watch = FiniteWatch()
    watch.note(Elsewhere(True), lambda: "not asked")
    watch.note(Elsewhere(False), lambda: "the second")
    with pytest.raises(NonFiniteError, match="the second"):
        watch.note(Elsewhere(False), lambda: "the third")
    with pytest.raises(NonFiniteError, match="the third"):
        watch.settle()
