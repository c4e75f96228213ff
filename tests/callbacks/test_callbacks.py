"""Progress bars on a terminal."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from gmlight.errors import ConfigError


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A terminal of 80 columns that records its output."""
    screen = io.StringIO()
    monkeypatch.setattr(
        "gmlight.commands.train.new_console",
        lambda: Console(file=screen, force_terminal=True, width=80, _environ={}),
    )
    return screen


def test_terminal_shows_a_live_bar(run: Callable[..., Path], terminal: io.StringIO) -> None:
    run("iterations=3")
    written = terminal.getvalue()
    assert "\x1b[" in written
    for expected in ("condensing", "k 3/3  t 2/2  loss", "left", "evaluating"):
        assert expected in written


def test_bar_restores_the_terminal_after_an_error(run: Callable[..., Path], terminal: io.StringIO) -> None:
    with pytest.raises(ConfigError, match="not finite"):
        run("image_lr=1e30")
    hidden, shown = "\x1b[?25l", "\x1b[?25h"
    assert terminal.getvalue().count(hidden) == terminal.getvalue().count(shown) > 0
