"""Sets of different classes of a folder of images are joined, evaluated on all classes and exported."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from gmlight import CondensedDataset
from helpers.runs import Run, refusal

FOLDER = [
    "dataset=image_folder", "dataset.size=[8,8]", "dataset.channels=1", "dataset.mean=[0.5]",
    "dataset.std=[0.25]", "dataset.convnet_depth=2", "iterations=0", "initialization=real", "ipc=2",
    "evaluation.epochs=2",
]  # fmt: skip
DIGITS = ["dataset=digits", "iterations=0", "initialization=real", "ipc=2", "evaluation.epochs=2"]


@pytest.fixture
def parts(tmp_path: Path, run: Callable[..., Path]) -> list[Path]:
    """Runs on some of the classes of one folder of images each."""
    for label, name in enumerate(("a", "b", "c", "d e")):
        for part, number in (("train", 4), ("test", 2)):
            (tmp_path / "photos" / part / name).mkdir(parents=True)
            for i in range(number):
                Image.new("L", (8, 8), 60 * label + i).save(tmp_path / "photos" / part / name / f"{i}.png")
    root = f"dataset.root={tmp_path / 'photos'}"
    return [run(*FOLDER, root, "dataset.classes=[c,a]"), run(*FOLDER, root, "dataset.classes=['d e',b]")]


def test_joined_runs_are_evaluated_and_exported(parts: list[Path], typed: Run, tmp_path: Path) -> None:
    done = typed("merge", f"runs=[{parts[0]},{parts[1]}]", "to=all")
    assert done.returncode == 0, done.stderr
    assert "8 images of 4 classes, stored as pixels in 2 KiB" in done.stdout
    assert "gmlight.evaluate" not in done.stdout
    joined = CondensedDataset(tmp_path / "all")
    assert joined.classes == ["c", "a", "d e", "b"]
    assert joined.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    evaluated = typed("evaluate", "run=all", "evaluation.networks=1", "evaluation.epochs=1", "trainer=cpu")
    assert evaluated.returncode == 0, evaluated.stderr
    (result,) = (tmp_path / "all" / "evaluations").glob("*/result.json")
    content = json.loads(result.read_text())
    assert content["config"]["dataset"]["classes"] == joined.classes
    assert sum(content["data"]["test"]["counts"]) == 8
    assert content["set"]["method"] == "merged"
    assert typed("export", "run=all", "format=npz", "to=exported").returncode == 0
    again = typed("merge", f"runs={parts[0]},{parts[1]}", "to=all")
    assert "all already holds a run or other files" in refusal(again)
    assert torch.equal(CondensedDataset(tmp_path / "all").images, joined.images)


def test_joined_choices_of_a_built_in_dataset_are_evaluated(
    run: Callable[..., Path], typed: Run, tmp_path: Path
) -> None:
    parts = [run(*DIGITS, f"dataset.classes={chosen}") for chosen in ("[7,6,1]", "[0,2,9,3,4,5,8]")]
    assert typed("merge", f"runs=[{parts[0]},{parts[1]}]", "to=all").returncode == 0
    evaluated = typed("evaluate", "run=all", "evaluation.networks=1", "evaluation.epochs=30", "trainer=cpu")
    assert evaluated.returncode == 0, evaluated.stderr
    (result,) = (tmp_path / "all" / "evaluations").glob("*/result.json")
    (row,) = json.loads(result.read_text())["evaluations"]
    assert row["accuracy"]["mean"] > 30  # of real images; with labels of other classes it is about 10


def test_images_that_a_part_was_condensed_from_are_never_tested(
    run: Callable[..., Path], typed: Run, tmp_path: Path
) -> None:
    """Without a test part, a folder is split anew for each choice of classes."""
    for label, name in enumerate(("a", "b", "c", "d")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(6):
            Image.new("L", (8, 8), 60 * label + i).save(tmp_path / "photos" / name / f"{i}.png")
    root = f"dataset.root={tmp_path / 'photos'}"
    parts = [run(*FOLDER, root, f"dataset.classes={chosen}") for chosen in ("[c,a]", "[b,d]")]
    assert typed("merge", f"runs=[{parts[0]},{parts[1]}]", "to=all").returncode == 0
    line = refusal(typed("evaluate", "run=all", "evaluation.networks=1", "trainer=cpu"))
    assert "are not those of the part that has the class" in line


def test_parts_with_held_out_images_are_joined_but_not_evaluated(
    run: Callable[..., Path], typed: Run, tmp_path: Path
) -> None:
    parts = [run(*DIGITS, "dataset.classes=[7,6,1]"), run(*DIGITS, "dataset.classes=[0,2]", "holdout=0.2")]
    for to, (first, second) in {"one": parts, "other": parts[::-1]}.items():
        done = typed("merge", f"runs=[{first},{second}]", f"to={to}")
        assert done.returncode == 0, done.stderr
        assert "gmlight.evaluate cannot use it" in done.stdout
        assert "config" not in CondensedDataset(tmp_path / to).metadata


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["to=all"], "name the sets to join: runs=..."),
        (["runs=[x,y]"], "name a new folder: to=..."),
        (["runs=[x,y]", "to=all"], "x: no condensed set there"),
        (["runs=[x,y]", "to=all", "ipc=2"], "ipc"),
        (["run=x", "to=all"], "run: no such key, did you mean runs?"),
    ],
    ids=" ".join,
)
def test_wrong_words_are_refused(typed: Run, tmp_path: Path, words: list[str], message: str) -> None:
    assert message in refusal(typed("merge", *words))
    assert not list(tmp_path.iterdir())
