"""Terminals without Unicode get other characters instead of an error."""

import io
import sys

import pytest

import gmlight
from gmlight.errors import ConfigError
from gmlight.runtime.console import new_console
from gmlight.runtime.rank import check_launcher_variables
from gmlight.runtime.terminal import prepare_terminal, print_version


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", "91.9 +- 0.4 ... <= \\u72ac \\udcff"),
        ("latin-1", "91.9 ± 0.4 ... <= \\u72ac \\udcff"),
        ("utf-8", "91.9 ± 0.4 … ≤ 犬 \\udcff"),
    ],
)
def test_characters_that_an_encoding_lacks_degrade(
    encoding: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(file, encoding=encoding, write_through=True))
    prepare_terminal()
    print("91.9 ± 0.4 … ≤ 犬 \udcff")
    assert file.getvalue().decode(encoding) == f"{shown}\n"
    new_console().rule()  # boxes and lines too
    file.getvalue().decode(encoding)


def test_version(capsys: pytest.CaptureFixture) -> None:
    assert not print_version(["ipc=1"])
    assert print_version(["ipc=1", "--version"])
    assert capsys.readouterr().out == f"gmlight {gmlight.__version__}\n"


def test_variables_of_launchers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty ones count as unset; others must be whole numbers."""
    monkeypatch.setenv("WORLD_SIZE", "")
    monkeypatch.setenv("SLURM_NTASKS", "4")
    check_launcher_variables()
    import os

    assert "WORLD_SIZE" not in os.environ
    assert os.environ["SLURM_NTASKS"] == "4"
    for name in ("RANK", "SLURM_PROCID", "MASTER_PORT"):
        for value in ("two", "-1", "1.5", "\u00b2", "\u0663"):  # int reads the last, a digit of Arabic
            monkeypatch.setenv(name, value)
            with pytest.raises(ConfigError, match=f"variable {name}={value}: must be a whole number"):
                check_launcher_variables()
        monkeypatch.delenv(name)
