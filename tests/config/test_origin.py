"""Resuming on other data is refused; other code is said and recorded; other test images are not compared."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gmlight.artifacts.run_folder import RunFolder
from gmlight.config.origin import code_versions, read_origin, record_origin
from gmlight.data.digest import DataDigest, SplitDigest
from gmlight.errors import ConfigError
from helpers.runs import TINY, Run, refusal

DIGEST = DataDigest(SplitDigest("a", [2, 2]), SplitDigest("b", [1, 1]))
WORDS = [
    *[word for word in TINY if not word.startswith("dataset=")], "dataset=image_folder",
    "dataset.root=images", "dataset.size=[16,16]", "dataset.convnet_depth=2", "ipc=1", "iterations=2",
    "evaluation.networks=1", "evaluation.every=0", "checkpoint.every=1",
]  # fmt: skip


@pytest.fixture
def images(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{i}.png")
    return tmp_path / "images"


def add(images: Path) -> None:
    shutil.copy(images / "cat" / "0.png", images / "cat" / "more.png")


def edit(images: Path) -> None:
    Image.new("RGB", (16, 16), "red").save(images / "dog" / "3.png")


def swap(images: Path) -> None:
    (images / "cat").rename(images / "other")
    (images / "dog").rename(images / "cat")
    (images / "other").rename(images / "dog")


@pytest.mark.parametrize("change", [add, edit, swap])
def test_a_run_is_not_resumed_on_changed_data(
    change: Callable[[Path], None], images: Path, typed: Run, tmp_path: Path
) -> None:
    done = typed("train", *WORDS, "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    metadata = json.loads((tmp_path / "run" / "condensed" / "metadata.json").read_text())
    assert result["data"] == metadata["data"]
    assert sum(result["data"]["train"]["counts"]) + sum(result["data"]["test"]["counts"]) == 24
    assert set(result["code"]) >= {"gmlight", "torch", "lightning"}
    change(images)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    line = refusal(typed("train", "resume=run", "iterations=3"))
    assert "the data changed since the run began: other training images" in line
    assert {path: path.read_bytes() for path in before} == before  # nothing is written over


def test_accuracies_on_other_test_images_are_marked(images: Path, typed: Run, tmp_path: Path) -> None:
    normalised = ["dataset.mean=[.5,.5,.5]", "dataset.std=[.3,.3,.3]"]
    done = typed("train", *WORDS, *normalised, "iterations=1", "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    for folder, changed in (("same", []), ("other", ["other test images"])):
        words = ["evaluation.networks=1", "++architecture.width=4", f"hydra.run.dir={folder}"]
        again = typed("evaluate", "run=run", *words)
        assert again.returncode == 0, again.stderr
        assert ("warning: the test images are not those" in again.stdout) is bool(changed)
        result = json.loads((tmp_path / folder / "result.json").read_text())
        assert result["changed"] == changed
        assert result["evaluations"][0]["architecture"] == "convnet, width=4"  # the run's is 8
        swap(images)


def test_changed_code_is_said_and_recorded(tmp_path: Path) -> None:
    folder, lines = RunFolder(tmp_path), list[str]()
    for code in ({"torch": "1", "mine": "a"}, {"torch": "1", "mine": "a"}, {"torch": "2", "mine": "a"}):
        record_origin(folder, DIGEST, code, lines.append)
    assert lines == ["the code changed since the run was last started: torch is 2, was 1"]
    record_origin(folder, DIGEST, {"torch": "2", "mine": "b"}, lines.append)
    assert read_origin(folder) == {
        "data": DIGEST.as_dict(),
        "code": {"torch": "2", "mine": "b"},
        "earlier_code": [{"torch": "1", "mine": "a"}, {"torch": "2", "mine": "a"}],
    }  # fmt: skip


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    folder, whole = RunFolder(tmp_path), {"data": DIGEST.as_dict(), "code": {"a": "1"}, "earlier_code": []}
    folder.origin.write_text(json.dumps(whole))
    assert read_origin(folder) == whole
    changes: list[dict] = [
        {"data": {"train": 1, "test": 2}}, {"code": "x"}, {"code": {"a": 1}}, {"earlier_code": 5},
        {"earlier_code": ["a"]}, {"data": {**DIGEST.as_dict(), "tested": [1]}},
        {"data": {**DIGEST.as_dict(), "test": {"sha256": "x", "counts": [[1]]}}},
        {"data": {**DIGEST.as_dict(), "test": {"sha256": "x"}}}, {"data": None},
    ]  # fmt: skip
    texts = [json.dumps(whole | change) for change in changes]
    for text in ("", "[]", '{"data": {}}', "[" * 100_000, *texts):
        folder.origin.write_text(text)
        with pytest.raises(ConfigError, match=r"origin\.json: damaged"):
            read_origin(folder)


def test_a_module_of_ones_own_has_the_version_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    config = {
        "architecture": {"_target_": "my_networks.small.Net"},
        "list": [{"_target_": "absent_module.f"}],
    }
    (tmp_path / "my_networks").mkdir()
    (tmp_path / "my_networks" / "__init__.py").touch()
    (tmp_path / "my_networks" / "small.py").write_text("class Net: pass\n")
    first = code_versions(config)
    (tmp_path / "my_networks" / "small.py").write_text("class Net: width = 2\n")
    second = code_versions(config)
    assert {name for name in first if first[name] != second[name]} == {"my_networks"}
    assert first["absent_module"] == "not found"
    assert "hydra" not in first
