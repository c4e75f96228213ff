"""The code in the README works."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.runs import TINY, Run

HERE = Path(__file__).parents[2]
README = (HERE / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)


def test_training_on_a_condensed_set(run: Callable[..., Path]) -> None:
    (code,) = [block for language, block in BLOCKS if language == "python" and "CondensedDataset" in block]
    folder = run()
    code = code.replace("runs/digits-ipc10/<time>", str(folder)).replace("range(300)", "range(100)")
    found: dict = {}
    exec(code, found)
    images, labels = found["condensed"].images, found["condensed"].labels
    assert (found["network"](images).argmax(1) == labels).float().mean() > 0.5  # learned its training set


def test_an_own_distance(forked: Run, tmp_path: Path) -> None:
    (code,) = [block for language, block in BLOCKS if language == "python" and "manhattan" in block]
    (node,) = [block for language, block in BLOCKS if language == "yaml"]
    (words,) = re.findall(r"gmlight\.train (--config-dir [^\n]*)", README)
    (tmp_path / "mine.py").write_text(code)
    (tmp_path / "my_conf" / "distance").mkdir(parents=True)
    (tmp_path / "my_conf" / "distance" / "manhattan.yaml").write_text(node)
    done = forked("train", *words.split(), *TINY)
    assert done.returncode == 0, done.stderr
    (result,) = tmp_path.glob("runs/*/*/result.json")
    assert json.loads(result.read_text())["config"]["distance"]["_target_"] == "mine.manhattan"
    use = ["evaluate", f"run={result.parent}", "evaluation.networks=1"]
    assert "trust=mine" in forked(*use).stderr  # a name in a file is not trusted by itself
    done = forked(*use, "--config-dir", "my_conf")
    assert done.returncode == 0, done.stderr


def test_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = [block for language, block in BLOCKS if language == "python" and "gmlight.condense(" in block]
    monkeypatch.chdir(tmp_path)
    tiny = 'ipc=2, scale="smoke", progress=False, overrides=["architecture.width=8", "trainer=cpu"])'
    found: dict = {}
    exec(code.replace("ipc=10)", tiny).replace('"mlp"]', '"mlp"], networks=1'), found)
    assert found["condensed"].images.shape == (20, 1, 8, 8)
    assert len(list(tmp_path.glob("runs/*/*/evaluations/*/result.json"))) == 1


def test_no_placeholders_and_pictures_exist() -> None:
    assert not re.findall(r"\b[A-Z]+_[A-Z]+\b", README.replace("GMLIGHT_DATA_DIR", ""))
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (Path(__file__).parents[2] / picture).is_file()
