"""The rooms of the house: who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import gmlight

ROOMS = [
    "errors", "files", "memory", "interruption", "scheduler", "distributed", "allocator", "checks", "naming",
    "config", "command", "progress", "randomness", "pictures", "forms", "artifact", "datasets", "data",
    "synthetic", "architectures", "augmentation", "siamese", "ensembles", "training", "features",
    "representatives", "gradients", "operations", "compilation", "engine", "distances", "plain", "matching",
    "diagnostics", "schedules", "coresets", "evaluation", "trajectory", "finiteness", "image_gradient",
    "condenser", "checkpointing", "journal", "resuming", "results", "sweeps", "paper", "gathering", "plots",
    "loggers", "templates", "curves", "page", "measuring", "rehearsal", "callbacks", "build", "stored",
    "train", "evaluate", "analyze", "formats", "export", "schedule", "sides", "benchmark", "report",
]  # fmt: skip
PACKAGE = Path(gmlight.__file__).parent
MODULES = [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]
AT_THE_DOOR = {
    "checks", "config", "command", "sweeps", "build", "stored", "train", "evaluate", "analyze", "export",
    "sides",    "benchmark",
}  # fmt: skip


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_modules_above_it(path: Path) -> None:
    here = room(path)
    assert here in ROOMS, f"give {here} a place in the list"
    above = set(ROOMS[: ROOMS.index(here)])
    if path.parent != PACKAGE:
        above.add(here)  # within a folder
    ours = {name.split(".")[1] for name in imports(path) if name.startswith("gmlight.")}
    assert ours - {"__version__"} <= above


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_configuration_stops_at_the_door(path: Path) -> None:
    if room(path) not in AT_THE_DOOR:
        assert not {name.split(".")[0] for name in imports(path)} & {"hydra", "omegaconf"}


def test_importing_gmlight_brings_neither_hydra_nor_lightning() -> None:
    code = (
        "import sys, gmlight; print(sorted({'hydra', 'lightning', 'omegaconf', 'wandb'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
