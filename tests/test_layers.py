"""Import rules: layers of packages, no circles, and where Hydra is used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import gmlight

# From the bottom up: a package imports only packages of earlier lines, never of its own line.
LAYERS = [
    ["errors"],
    ["architectures", "runtime"],
    ["data"],
    ["artifacts"],
    ["matching", "training", "config"],
    ["condensation"],
    ["reporting"],
    ["callbacks"],
    ["builders"],
    ["applications", "benchmarking"],
    ["commands"],
]
COMMANDS = {
    "__main__", "train", "evaluate", "analyze", "export", "convert", "merge", "proxy", "continual", "report",
    "schedule", "benchmark",
}  # fmt: skip
LIBRARY = "library"  # the commands as functions
MAY_USE_HYDRA = {"config", "builders", "applications", "benchmarking", "commands", LIBRARY}
PACKAGE = Path(gmlight.__file__).parent
MODULES = [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]
PACKAGES = [path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()]


def top(path: Path) -> str:
    """Returns the package of a module, or its own name at the top level."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Returns the full names that a module imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports by full name"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_every_module_is_in_a_layer_or_is_a_command() -> None:
    known = {name for layer in LAYERS for name in layer} | COMMANDS | {LIBRARY}
    assert {top(path) for path in MODULES} == known


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_layers_below(path: Path) -> None:
    here = top(path)
    below: set[str] = {"__version__"}
    for layer in LAYERS:
        if here in layer:
            below.add(here)  # within a package: see the test of circular imports
            break
        below |= set(layer)
    ours = {name.split(".")[1] for name in imports(path) if name.startswith("gmlight.")}
    assert ours <= below


@pytest.mark.parametrize("package", PACKAGES)
def test_no_circular_imports_inside_a_package(package: str) -> None:
    prefix = f"gmlight.{package}."
    files = {path.stem: path for path in (PACKAGE / package).rglob("*.py") if path.stem != "__init__"}
    edges = {
        stem: {name.removeprefix(prefix).split(".")[0] for name in imports(path) if name.startswith(prefix)}
        & files.keys()
        for stem, path in files.items()
    }
    while edges:  # removes modules without remaining imports
        leaves = {stem for stem, wanted in edges.items() if not wanted & edges.keys()}
        assert leaves, f"a circle among {sorted(edges)}"
        edges = {stem: wanted for stem, wanted in edges.items() if stem not in leaves}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_some_packages_import_hydra(path: Path) -> None:
    if top(path) not in MAY_USE_HYDRA:
        assert not {name.split(".")[0] for name in imports(path)} & {"hydra", "omegaconf"}


HEAVY = {"hydra", "lightning", "omegaconf", "torch", "wandb"}


@pytest.mark.parametrize(
    ("statement", "loaded"),
    [
        ("import gmlight", []),
        ("from gmlight import ConfigError", []),
        ("from gmlight import CondensedDataset", ["torch"]),
    ],
)
def test_importing_gmlight_loads_only_what_is_asked_for(statement: str, loaded: list[str]) -> None:
    code = f"import sys; {statement}; print(*sorted({HEAVY} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == loaded
