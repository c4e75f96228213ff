"""`python -m gmlight`: lists the commands, or runs one."""

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version

import pytest

from gmlight import __main__ as main_module
from gmlight.__main__ import COMMANDS

Called = Callable[..., tuple[object, str]]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Called:
    """Returns a function that runs it with words, and returns the exit status and what is printed."""

    def _called(*words: str) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["gmlight", *words])
        try:
            main_module.main()
        except SystemExit as stop:
            return stop.code, capsys.readouterr().out
        return 0, capsys.readouterr().out

    return _called


@pytest.mark.parametrize("words", [(), ("-h",), ("--help",)])
def test_the_commands_are_listed(called: Called, words: tuple[str, ...]) -> None:
    status, shown = called(*words)
    assert status == 0
    lines = shown.splitlines()
    assert lines[0] == "usage: python -m gmlight.<command> key=value ..."
    for name, summary in (
        ("train", "Condenses a dataset"),
        ("export", "Writes a condensed set in another"),
    ):
        assert any(line.startswith(f"  python -m gmlight.{name} ") and summary in line for line in lines)
    assert len(lines) == len(COMMANDS) + 4


def test_the_version_is_gmlights(called: Called) -> None:
    assert called("--version") == (0, f"gmlight {version('gmlight')}\n")


def test_another_word_is_no_command(called: Called) -> None:
    status, shown = called("condense")
    assert status == f"gmlight: condense: no such command; use one of {', '.join(COMMANDS)}"
    assert shown.startswith("usage: ")


def test_a_command_gets_its_words(called: Called, monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[list[str]] = []
    monkeypatch.setattr("gmlight.export.main", lambda: got.append(sys.argv))
    assert called("export", "run=x", "format=npz") == (0, "")
    assert got == [["gmlight.export", "run=x", "format=npz"]]


def test_as_a_program() -> None:
    done = subprocess.run([sys.executable, "-m", "gmlight", "no"], capture_output=True, text=True)
    assert (done.returncode, done.stderr.startswith("gmlight: no: no such command")) == (1, True)
