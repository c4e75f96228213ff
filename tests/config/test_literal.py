"""Text from files stays literal on the whole way: data folder, configuration, result, set, page."""

import html
import json
from pathlib import Path

import pytest
import yaml
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

from gmlight import CondensedDataset
from gmlight.config.compose import name_classes
from gmlight.config.literal import class_names, literal, register_literal
from gmlight.errors import ConfigError
from helpers.runs import Run, composed

NAMES = ["${oc.env:HOME}", "${x", "???", "a'b\"c", "{x}", "=1+1", "\\${y}", "<b>", "name $a$ & b"]


@pytest.mark.parametrize("name", [*NAMES, "${literal:'00'}", "plain"])
def test_text_resolves_to_itself(name: str) -> None:
    register_literal()
    config = OmegaConf.create(literal({"dataset": {"classes": [name, "b"], "inner": {"text": f"x{name}"}}}))
    assert config.dataset.inner.text == f"x{name}"
    assert class_names(config) == [name, "b"]
    expected = {"dataset": {"classes": [name, "b"], "inner": {"text": f"x{name}"}}}
    assert OmegaConf.to_container(config, resolve=True) == expected


def test_numbers_are_names() -> None:
    config = composed("dataset=digits", "dataset.classes=[0,1,2,3,4,5,6,7,8,9]")
    name_classes(config)
    assert class_names(config) == list("0123456789")


@pytest.mark.parametrize("classes", ["[a,a]", "[a,null]", "[a,1.5]", "[a,'']", "5", "[[a]]"])
def test_classes_that_are_no_names_are_refused_before_the_run(classes: str) -> None:
    config = composed("dataset=digits", "~dataset.load.names", f"dataset.classes={classes}")
    with pytest.raises(ConfigError, match=r"dataset\.classes=.*must be"):
        name_classes(config)
    config = composed("dataset=digits", f"dataset.classes={classes}")
    with pytest.raises(ConfigError, match=r"dataset\.classes"):
        name_classes(config)


def test_names_of_class_folders_survive_everything(typed: Run, tmp_path: Path) -> None:
    for i, name in enumerate(NAMES):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        for n in range(5):
            Image.new("RGB", (8, 8), (20 * i, 40 * n, 90 + n)).save(folder / f"{n}.png")
    words = [
        "dataset=image_folder", "dataset.root=images", "dataset.size=[8,8]", "dataset.convnet_depth=2",
        "ipc=1", "scale=smoke", "real_batch=2", "evaluation.every=0", "evaluation.networks=1",
        "architecture.width=4",
        "evaluation.baselines={random:0,whole:0}", "speed.compile=false", "trainer=cpu", "iterations=1",
    ]  # fmt: skip
    made = typed("train", *words, "hydra.run.dir=run")
    assert made.returncode == 0, made.stderr
    run = tmp_path / "run"
    names = sorted(NAMES)
    resumed = typed("train", "resume=run", "iterations=2")
    assert resumed.returncode == 0, resumed.stderr
    assert yaml.safe_load((run / "config.yaml").read_text())["dataset"]["classes"] == names
    assert json.loads((run / "result.json").read_text())["config"]["dataset"]["classes"] == names
    assert CondensedDataset(run).classes == names
    assert CondensedDataset(run).metadata["config"]["dataset"]["classes"] == names
    page = (run / "report.html").read_text()
    assert html.escape("${oc.env:HOME}") in page
    assert "<b>" not in page
    done = typed("evaluate", "run=run", "trainer=cpu")
    assert done.returncode == 0, done.stderr
    (evaluated,) = run.glob("evaluations/*/result.json")
    assert json.loads(evaluated.read_text())["config"]["dataset"]["classes"] == names
    assert typed("export", "run=run", "format=png", "to=out").returncode == 0
    assert len(list((tmp_path / "out").glob("*/0000.png"))) == len(names)


def test_text_would_be_resolved_twice_by_instantiate() -> None:
    """The reason why names do not pass through it."""
    register_literal()
    node = OmegaConf.create({"_target_": "builtins.dict", "a": literal("${oc.env:HOME,home}")})
    assert instantiate(node)["a"] != "${oc.env:HOME,home}"
