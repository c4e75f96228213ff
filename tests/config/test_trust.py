"""What a stored configuration may name: conf/, the user's folders of options, and the user's own modules."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from gmlight.config.former_names import with_present_names
from gmlight.config.stored_words import check_words
from gmlight.config.trust import Trust, config_folders, trusted_modules, with_trust_as_list
from gmlight.errors import ConfigError
from gmlight.runtime.paths import CONF_DIR
from helpers.runs import composed

TRUST = Trust.of([])
GROUPS = ("dataset", "architecture", "augmentation", "matching", "distance", "schedule", "initialization",
          "synthetic", "sampling", "trainer", "logger", "scale", "evaluation")  # fmt: skip
OPTIONS = [f"{group}={path.stem}" for group in GROUPS for path in sorted((CONF_DIR / group).glob("*.yaml"))]


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_of_conf_is_known(option: str) -> None:
    config: Any = OmegaConf.to_container(composed(option, "dataset.root=x") if "image_folder" in option
                                         else composed(option), resolve=True)  # fmt: skip
    TRUST.check(config, "here")


@pytest.mark.parametrize("name", ["finished", "stopped"])
def test_older_configurations_are_known(name: str) -> None:
    path = Path(__file__).parent / "before_packages" / name / "config.yaml"
    TRUST.check(with_present_names(yaml.safe_load(path.read_text())), "here")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ([], "must be a group of keys"),
        ({"unknown": 1}, "unknown: conf/ has no such key"),
        ({"distance": {"_target_": "gmlight.condensation.schedules.fixed"}}, "only if the code is yours"),
        ({"distance": {"_target_": ["a"]}}, "distance._target_"),
        ({"distance": {"_target_": "gmlight.matching.distances.cos", "_args_": []}}, "distance._args_"),
        ({"distance": {"weight": {"_target_": "gmlight.matching.distances.cos"}}}, "distance.weight._targ"),
        ({"sampling": {"_target_": "hydra.utils.get_method", "path": "os.system"}}, "sampling.path=os"),
        ({"sampling": {"path": "os.system"}}, "sampling.path=os.system"),
        ({"trainer": {"plugins": [{"_target_": "os.system"}]}}, "trainer.plugins._target_=os.system"),
        ({"schedule": {"epochs": {0: {"_target_": "os.system"}}}}, "schedule.epochs.0"),
        ({"schedule": {"epochs": {7: "${oc.env:HOME}"}}}, "schedule.epochs.7"),
        ({"schedule": {"epochs": {7: [{"_target_": "os.system"}]}}}, "schedule.epochs.7._target_"),
        ({"checkpoint": {7: 1}}, "checkpoint.7: conf/ has no such key"),
        ({"image_lr": "???"}, "image_lr=???"),
        ({"dataset": {"name": "???"}}, "dataset.name=???"),
        ({"evaluation": {"architectures": ["convnet", "mlp,x"]}}, "mlp,x is no option"),
        ({"cells": [{"set": {"hydra": {"mode": "MULTIRUN"}}}]}, "cells.set.hydra"),
        ({"callbacks": {"x": {"_target_": "lightning.pytorch.callbacks.Timer"}}}, "do not use this file"),
    ],
    ids=str,
)  # fmt: skip
def test_foreign_keys_and_names_are_refused(config: Any, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        TRUST.check(config, "a file")
    assert str(error.value).startswith("a file: ")
    assert message in str(error.value)


def test_deep_nesting_is_refused() -> None:
    config: Any = {}
    for _ in range(5000):
        config = [config]
    with pytest.raises(ConfigError, match="nested too deeply"):
        TRUST.check({"seed": config}, "a file")


@pytest.mark.parametrize(
    "config",
    [
        {"schedule": {"epochs": {0: 50, 123: 5}}},
        {"schedule": {"epochs": [50, 40]}},
        {"dataset": {"name": "${oc.env:HOME}", "classes": ["???", "${x"], "root": "/a/${b}"}},
        {"matching": None, "logger": None},
    ],
    ids=str,
)
def test_plain_values_are_kept(config: dict[str, Any]) -> None:
    TRUST.check(config, "a file")


def test_modules_of_the_user_are_trusted_by_their_whole_name() -> None:
    trust = Trust.of(["trust=mine,other.part"])
    own = {"_target_": "mine.Net", "blocks": {"a": 1}}
    trust.check({"architecture": own, "callbacks": {"x": {"_target_": "other.part.C", "n": 1}}}, "a file")
    for name in ("mine2.Net", "other.parts.C", "other.C", "os.system"):
        with pytest.raises(ConfigError, match="conf/ does not build this here"):
            trust.check({"architecture": {"_target_": name}}, "a file")
    with pytest.raises(ConfigError, match=r"architecture.blocks._target_=os.system"):
        trust.check({"architecture": own | {"blocks": {"_target_": "os.system"}}}, "a file")


def test_options_of_the_user_are_known(tmp_path: Path) -> None:
    (tmp_path / "architecture").mkdir()
    (tmp_path / "architecture" / "wide.yaml").write_text("_target_: mine.Wide\nspread: 2\n")
    (tmp_path / "architecture" / "whole.yaml").write_text(
        "# @package _global_\narchitecture: {_target_: mine.Whole}\n"
    )
    (tmp_path / "architecture" / "broken.yaml").write_text("{")
    trust = Trust.of(["--config-dir", str(tmp_path)])
    trust.check({"architecture": {"_target_": "mine.Wide", "spread": 3}}, "a file")
    trust.check(
        {"architecture": {"_target_": "mine.Whole"}, "evaluation": {"architectures": ["wide"]}}, "a file"
    )
    check_words(["architecture=wide"], trust, "a file")
    with pytest.raises(ConfigError, match=r"distance\._target_=mine\.Wide"):
        trust.check({"distance": {"_target_": "mine.Wide"}}, "a file")


def test_words_that_trust() -> None:
    assert config_folders(["--config-dir", "a", "-cd=b", "x=--config-dir"]) == [Path("a"), Path("b")]
    words = ["hydra.searchpath=[file:///c, 'd',pkg://e]", "hydra.searchpath=f"]
    assert config_folders(words) == [Path("/c"), Path("d"), Path("f")]
    assert trusted_modules(["trust=[a.b,c]", "seed=1", "trust=d"]) == ("a.b", "c", "d")
    assert trusted_modules(["trust=[]"]) == ()
    assert with_trust_as_list(["trust=a,b", "seed=1"]) == ["trust=[a,b]", "seed=1"]
    for word in ("trust=a b", "trust=../a", "trust=a..b", "trust=1"):
        with pytest.raises(ConfigError, match="must be modules of yours"):
            trusted_modules([word])
