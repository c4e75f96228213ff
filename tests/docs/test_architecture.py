"""docs/architecture.md names packages, files and functions that exist."""

import re
from pathlib import Path

import pytest

import gmlight

ROOT = Path(__file__).parents[2]
PACKAGE = Path(gmlight.__file__).parent
PAGE = (ROOT / "docs" / "architecture.md").read_text()
NAMED = re.findall(r"`([\w/]+\.py)`(?:: ((?:`[\w.]+`[,;] ?|`[\w.]+`)+))?", PAGE)


def test_every_package_is_in_the_table() -> None:
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", PAGE, re.MULTILINE)
    named = set(re.findall(r"\w+", " ".join(rows)))
    there = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} | {
        path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__"
    }
    assert there <= named


@pytest.mark.parametrize(("file", "names"), sorted(set(NAMED)))
def test_files_and_names_exist(file: str, names: str) -> None:
    path = PACKAGE / file if (PACKAGE / file).exists() else ROOT / file
    assert path.exists()
    for name in re.findall(r"`([\w.]+)`", names):
        for part in name.split("."):
            assert re.search(rf"\b{part}\b", path.read_text()), f"{file} has no {part}"


@pytest.mark.parametrize("folder", sorted(set(re.findall(r"`(conf/\w+/)`", PAGE))))
def test_configuration_folders_exist(folder: str) -> None:
    assert (ROOT / folder).is_dir()
