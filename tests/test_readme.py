"""What the README shows works as it stands there."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from conftest import composed
from gmlight.config import check

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    words
    for language, block in BLOCKS
    if language == "bash"
    for words in re.findall(r"^python -m gmlight\.train ([^#\n]*)", block, re.MULTILINE)
]


def test_training_on_a_condensed_set(run: Callable[..., Path]) -> None:
    (code,) = [block for language, block in BLOCKS if language == "python" and "CondensedDataset" in block]
    folder = run()
    code = code.replace("runs/digits-ipc10/<time>", str(folder)).replace("range(300)", "range(100)")
    found: dict = {}
    exec(code, found)
    images, labels = found["condensed"].images, found["condensed"].labels
    assert (found["network"](images).argmax(1) == labels).float().mean() > 0.5  # it learned what it was shown


@pytest.mark.parametrize("words", COMMANDS)
def test_train_commands_compose(words: str) -> None:
    overrides = [word for word in words.split() if not word.startswith("-") and "my_conf" not in word]
    single = [re.sub(r",[^\]]*$", "", override) for override in overrides if "manhattan" not in override]
    check(composed(*single))


def test_an_own_distance(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run: Callable[..., Path]) -> None:
    (code,) = [block for language, block in BLOCKS if language == "python" and "manhattan" in block]
    (node,) = [yaml.safe_load(block) for language, block in BLOCKS if language == "yaml"]
    (tmp_path / "mine.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    changed = [f"distance.{key}={value}" for key, value in node.items() if key != "_partial_"]
    assert (run(*changed) / "result.json").is_file()
