"""Every block of docs/from-python.md runs, in the order of the page."""

import re
import sys
from pathlib import Path

import pytest
import torch

import gmlight

PAGE = (Path(__file__).parents[2] / "docs" / "from-python.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))  # where a script would lie
    monkeypatch.delitem(sys.modules, "mine", raising=False)  # of another test
    names: dict = {}
    for block in BLOCKS:
        exec(block, names)
    condensed = names["condensed"]
    assert isinstance(condensed, gmlight.CondensedDataset)
    assert len(condensed) == 20
    assert condensed.path.parent == tmp_path / "runs" / "in-memory-ipc2"
    assert list(names["accuracies"]) == ["mlp", "convnet"]
    learned = names["condenser"].synthetic.labelled()
    assert learned.images.shape == (20, 1, 8, 8)
    assert not torch.equal(names["condenser"].synthetic.images, names["mine"].synthetic.images)
    assert len(list(tmp_path.glob("runs/*/*/result.json"))) == 2
    assert f"CondensedDataset {condensed.path}" in capsys.readouterr().out


def test_the_pieces_by_hand_take_fifteen_lines() -> None:
    (block,) = [block for block in BLOCKS if "InnerLoop(network)" in block and "import lightning" in block]
    assert len([line for line in block.splitlines() if line.strip()]) <= 15


def test_all_options_of_condense_are_on_the_page() -> None:
    from gmlight.library import CondenseOptions

    for name in CondenseOptions.__annotations__:
        assert re.search(rf"\b{name}\b", PAGE), name
