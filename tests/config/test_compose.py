"""Resolvers of conf/, cells of experiments, and overrides, by hand."""

from typing import Any

import pytest
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from gmlight.config.compose import register_resolvers, with_overrides
from gmlight.config.experiment_cells import apply_cell, blank_cell
from gmlight.config.labels import protocol_epochs
from gmlight.config.overrides import flat, last_of_each_key, override_key
from gmlight.errors import ConfigError
from gmlight.runtime.paths import CONF_DIR
from helpers.runs import composed


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("${min:5,null,3}", 3),
        ("${max:5,null,3}", 5),
        ("${mul:3,4}", 12),
        ("${div:7,2}", 3),
        ("${half:7}", 4),
        ("${half:8}", 4),
        ("${half:1}", 1),
    ],
)
def test_resolvers(expression: str, value: int) -> None:
    register_resolvers()
    assert OmegaConf.create({"key": expression}).key == value


@pytest.mark.parametrize(
    ("words", "epochs"),
    [
        (["dataset=cifar10"], 300),
        (["dataset=mnist"], 1000),
        (["dataset=cifar10", "augmentation=dsa"], 1000),  # the larger of the dataset's and the augmentation's
        (["dataset=cifar10", "scale=smoke"], 2),
        (["dataset=mnist", "scale=demo"], 100),
    ],
)
def test_epochs_of_the_protocol(words: list[str], epochs: int) -> None:
    config = composed(*words)
    assert (protocol_epochs(config), config.evaluation.epochs) == (epochs, epochs)


def test_a_cell_needs_all_of_its_keys() -> None:
    config = composed("dataset=mnist", "ipc=10", "method=md")
    cells: list[dict[str, Any]] = [
        {"when": {"dataset": ["mnist"], "ipc": [10]}, "set": {"image_lr": 0.5}},
        {"when": {"dataset": ["mnist"], "ipc": [1]}, "set": {"image_lr": 0.7}, "blank": "no"},
        {"when": {"method": ["mda", "md"], "distance": ["cos_euclid"]}, "set": {"distance": {"weight": 3}}},
        {"when": {"dataset": ["svhn"]}, "blank": "no"},
    ]
    config.cells = cells
    apply_cell(config)
    assert (config.image_lr, config.distance.weight, blank_cell(config)) == (0.5, 3, None)
    config.ipc = 1
    assert blank_cell(config) == "no"


def test_of_an_override_typed_twice_the_last_counts() -> None:
    words = ["a.b=1", "+c=2", "a.b=3", "~d", "c=4"]
    assert last_of_each_key(words) == ["a.b=3", "c=4", "~d"]
    assert [override_key(word) for word in words] == ["a.b", "c", "a.b", "d", "c"]
    assert dict(flat({"a": {"b": 1, "c": {"d": 2}}, "e": []})) == {"a.b": 1, "a.c.d": 2, "e": []}


def test_the_other_side_of_a_benchmark_is_completed_and_checked() -> None:
    composed("dataset=digits", "ipc=2", name="benchmark")
    with initialize_config_dir(config_dir=str(CONF_DIR), version_base="1.3"):
        other = with_overrides(["architecture=mlp", "ipc=3"])
        assert (other.ipc, other.architecture["_target_"]) == (3, "gmlight.architectures.mlp.MLP")
        assert list(other.dataset.classes) == [str(digit) for digit in range(10)]
        with pytest.raises(ConfigError, match="ipc=0: must be a whole number of at least 1"):
            with_overrides(["ipc=0"])
        with pytest.raises(ConfigError, match="mixed_batch=0: this schedule measures"):
            with_overrides(["schedule=until_overfit", "mixed_batch=0"])
