"""Progress on a terminal and without one."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from gmlight.runtime import progress


def test_without_a_terminal_lines_appear_at_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0, 10, 31, 40, 62])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 30)
    page = io.StringIO()
    with progress.show_progress("evaluating the set", "network", 4, Console(file=page, width=80)) as told:
        told(0.5)  # at 10 seconds: too early
        told(1.25)  # at 31, and the line is of 40
        told(2.0)  # at 62, too early again
    assert page.getvalue() == "evaluating the set  network 1/4  31%\n"


def test_live_bar_counts_whole_units() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, _environ={})
    with progress.show_progress("evaluating the set", "network", 2, console) as told:
        told(1.75)
    assert "network 1/2" in screen.getvalue()
    assert "network 2/2" not in screen.getvalue()


def test_training_on_real_images_is_shown(
    run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "PLAIN_SECONDS", -1)
    run("method=herding", "initialization.epochs=2")
    written = capsys.readouterr().out
    assert "herding: training its network  epoch 1/2  50%" in written
    assert "evaluating herding images on" in written
