"""What docs/ show works as it stands there, and what is generated is up to date."""

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from gmlight.runtime.paths import CONF_DIR
from helpers.runs import SMOKE, Run

DOCS = Path(__file__).parents[2] / "docs"
GUIDE = (DOCS / "guide.md").read_text()
PAGES = sorted(DOCS.glob("*.md"))


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_reference_is_what_conf_says() -> None:
    spec = importlib.util.spec_from_file_location("make_reference", DOCS / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = module.reference()
    assert (DOCS / "reference.md").read_text() == text, "run: python docs/make_reference.py"
    for path in CONF_DIR.glob("*/*.yaml"):
        assert f"| `{path.stem}` | " in text


def test_every_option_says_what_it_is() -> None:
    silent = re.findall(r"^\| `(\w+)` \|  \|", (DOCS / "reference.md").read_text(), re.MULTILINE)
    assert silent == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_a_network_of_ones_own(run: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = [block for block in blocks(GUIDE, "python") if "CondensedDataset" in block]
    folder = run("ipc=10", "iterations=0", "initialization=real")  # real images, as good ones take minutes
    exec(code.replace("runs/digits-ipc10/<time>", str(folder)), {})
    found = re.search(r"([\d.]+)% of all 1,797 digits", capsys.readouterr().out)
    assert found is not None
    assert float(found[1]) > 60


def test_parts_of_ones_own(forked: Run, tmp_path: Path) -> None:
    (mine,) = [block for block in blocks(GUIDE, "python") if "CondensedDataset" not in block]
    (tmp_path / "mine.py").write_text(mine)
    files = re.findall(r"`(my_conf/\w+/\w+\.yaml)`\n\n```yaml\n(.*?)```", GUIDE, re.DOTALL)
    kinds = {"dataset", "distance", "matching", "schedule", "architecture", "initialization", "augmentation"}
    assert {name.split("/")[1] for name, _ in files} == kinds
    for name, node in files:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(node)
    (words,) = re.findall(r"gmlight\.train (--config-dir [^\n]*)", GUIDE)
    assert {word.split("=")[0] for word in words.split()} >= kinds
    done = forked("train", *words.split(), *SMOKE)
    assert done.returncode == 0, done.stderr
    assert "wide" in done.stdout
    assert "stripes" in done.stdout
