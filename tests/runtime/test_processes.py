"""The processes of a run: one fails, one is lost."""

import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
from torch import distributed as dist

from gmlight.runtime import processes
from gmlight.runtime.distributed import Ranks
from gmlight.runtime.processes import LostProcessError, ending_launched_processes, naming_lost_processes
from gmlight.runtime.signals import Stopped, signal_handler


class Launcher:
    """A launcher of processes that have these exit statuses; None: still running."""

    def __init__(self, *statuses: int | None) -> None:
        self.procs = [SimpleNamespace(poll=lambda status=status: status) for status in statuses]
        self.killed: list[int] = []

    def kill(self, signum: int) -> None:
        self.killed.append(signum)


def test_launched_processes_end_with_an_error_only() -> None:
    strategy = SimpleNamespace(launcher=Launcher(None))
    with ending_launched_processes(strategy):
        pass
    assert strategy.launcher.killed == []
    with pytest.raises(KeyboardInterrupt), ending_launched_processes(strategy):
        raise KeyboardInterrupt
    assert strategy.launcher.killed == [signal.SIGTERM]
    with pytest.raises(ValueError, match="alone"), ending_launched_processes(SimpleNamespace(launcher=None)):
        raise ValueError("alone")


@pytest.mark.parametrize(("statuses", "lost"), [((0, None), False), ((None, -9), True), ((1, 0), True)])
def test_process_that_hangs_after_the_loss_of_another_is_ended(
    monkeypatch: pytest.MonkeyPatch, statuses: tuple[int | None, ...], lost: bool
) -> None:
    class Ended:
        """An event that is set after three waits."""

        waits = 0

        def wait(self, timeout: float) -> bool:
            self.waits += 1
            return self.waits > 3

    def leave(status: int) -> None:
        events.append(f"exit {status}")
        raise SystemExit

    events: list[str] = []
    launcher = Launcher(*statuses)
    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(SystemExit) if lost else pytest.MonkeyPatch.context():
        processes._watch(launcher, Ended(), lambda: events.append("shown"))  # type: ignore[arg-type]
    assert events == (["shown", "exit 1"] if lost else [])
    assert launcher.killed == ([signal.SIGKILL] if lost else [])


def test_process_that_ends_in_order_after_the_loss_of_another_is_left_alone() -> None:
    waits = iter([False, True, True])
    ended = SimpleNamespace(wait=lambda timeout: next(waits))
    launcher = Launcher(-9)
    processes._watch(launcher, ended, lambda: pytest.fail("shown"))  # type: ignore[arg-type]
    assert launcher.killed == []


GLOO = RuntimeError("[third_party/gloo/gloo/transport/tcp/pair.cc:545] Connection reset by peer")


@pytest.mark.parametrize(
    ("error", "size", "lost"),
    [
        (GLOO, 2, True),
        (dist.DistBackendError("NCCL communicator was aborted"), 2, True),
        (GLOO, 1, False),
        (RuntimeError("a bug"), 2, False),
    ],
)
def test_failed_collective_is_explained(
    monkeypatch: pytest.MonkeyPatch, error: RuntimeError, size: int, lost: bool
) -> None:
    monkeypatch.setattr(Ranks, "size", size)
    expected = LostProcessError if lost else type(error)
    with pytest.raises(expected) as caught, naming_lost_processes(Path("runs/a run")):
        raise error
    if lost:
        assert str(caught.value).endswith("; continue with resume='runs/a run'")
    else:
        assert caught.value is error


def test_collective_that_fails_because_the_run_is_stopped_is_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ranks, "size", 2)
    monkeypatch.setattr(signal_handler, "signum", signal.SIGTERM)
    with pytest.raises(Stopped), naming_lost_processes(Path("run")):
        raise GLOO
