"""Commands check their arguments before slow imports, so help and user errors appear immediately."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SLOW = {
    "PIL", "datasets", "joblib", "lightning", "matplotlib", "numpy", "optuna", "scipy", "sklearn", "submitit",
    "torch", "torchvision", "wandb",
}  # fmt: skip


def imported(folder: Path, module: str, *words: str, **variables: str) -> tuple[set[str], str]:
    """Returns the top-level packages that a command imports, and its output."""
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", f"gmlight.{module}", *words],
        cwd=folder, env=os.environ | variables, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    lines = result.stderr.splitlines()
    times = [line for line in lines if line.startswith("import time:")]
    names = {line.rpartition("|")[2].strip().split(".")[0] for line in times}
    assert "hydra" in names or module == "report"
    return names, result.stdout + "\n".join(line for line in lines if line not in times)


@pytest.mark.parametrize(
    ("module", "words", "expected"),
    [
        ("train", ["--help"], "== Choices"),
        ("train", ["distance=cosine"], "distance=cosine: no such option"),
        ("train", ["datset=mnist"], "datset: no such key, did you mean dataset?"),
        ("train", ["ipc=0"], "ipc=0: must be"),
        ("evaluate", ["--help"], "Trains fresh networks"),
        ("report", ["run=x"], "usage: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value if value.islower() else "",
)
def test_help_and_user_errors_import_nothing_slow(
    tmp_path: Path, module: str, words: list[str], expected: str
) -> None:
    names, printed = imported(tmp_path, module, *words)
    assert expected in printed
    assert not names & SLOW


def test_completion_imports_nothing_slow(tmp_path: Path) -> None:
    names, printed = imported(tmp_path, "train", "-sc", "query=bash", COMP_LINE="gmlight-train dataset=")
    assert "dataset=mnist" in printed
    assert not names & SLOW
