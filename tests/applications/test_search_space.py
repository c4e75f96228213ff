"""Candidates of a search space, in conf/ and given by users."""

import math
from typing import Any

import pytest
import torch
import yaml

from gmlight.applications.search_space import candidate_name, candidates
from gmlight.errors import ConfigError
from gmlight.runtime.paths import CONF_DIR


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize(("name", "number"), [("convnet720", 720), ("convnet48", 48), ("training", 54)])
def test_spaces_have_as_many_different_candidates_as_they_say(name: str, number: int) -> None:
    values = yaml.safe_load((CONF_DIR / "space" / f"{name}.yaml").read_text())["values"]
    found = candidates(values, 0, rng())
    assert len(found) == len({candidate_name(each) for each in found}) == number


def test_the_small_space_is_a_part_of_the_large_one() -> None:
    small, large = (
        candidates(yaml.safe_load((CONF_DIR / "space" / f"{name}.yaml").read_text())["values"], 0, rng())
        for name in ("convnet48", "convnet720")
    )
    assert all(each in large for each in small)


def test_a_grid_is_the_product_of_its_values() -> None:
    values = {"architecture": {"width": [8, 16]}, "evaluation": {"lr": [0.1, 0.01, 0.001]}}
    expected = [
        {"architecture.width": width, "evaluation.lr": lr} for width in (8, 16) for lr in (0.1, 0.01, 0.001)
    ]
    assert candidates(values, 0, rng()) == expected


def test_draws_of_a_grid_are_different_candidates_of_it() -> None:
    values = {"architecture": {"width": [8, 16, 32], "depth": [1, 2]}}
    grid = candidates(values, 0, rng())
    for number in range(1, 7):
        drawn = candidates(values, number, rng())
        assert len(drawn) == number
        assert all(drawn.count(each) == 1 and each in grid for each in drawn)
    assert candidates(values, 6, rng()) != grid  # in a random order


def test_draws_of_a_range_lie_in_it_and_fill_it() -> None:
    values = {
        "lr": {"least": 1e-4, "most": 1.0, "log": True},
        "momentum": {"least": 0.5, "most": 0.9},
        "batch_size": {"least": 8, "most": 64},
    }
    drawn = candidates({"evaluation": values}, 400, rng())
    rates = [math.log10(each["evaluation.lr"]) for each in drawn]
    assert -4 <= min(rates) < -3.9 < -0.1 < max(rates) <= 0
    assert abs(sum(rates) / 400 + 2) < 0.2  # even on a logarithmic axis
    assert all(0.5 <= each["evaluation.momentum"] <= 0.9 for each in drawn)
    sizes = [each["evaluation.batch_size"] for each in drawn]
    assert all(type(size) is int for size in sizes)
    assert {min(sizes), max(sizes)} == {8, 64}


def test_draws_with_a_range_take_every_value_of_a_list_equally_often() -> None:
    values = {"evaluation": {"lr": {"least": 0.1, "most": 1.0}, "batch_size": [8, 16, 32]}}
    sizes = [each["evaluation.batch_size"] for each in candidates(values, 600, rng())]
    assert all(160 <= sizes.count(size) <= 240 for size in (8, 16, 32))


def test_names_show_values() -> None:
    assert candidate_name({"architecture.width": 64, "evaluation.lr": 0.00123456}) == "width=64, lr=0.001235"


@pytest.mark.parametrize(
    ("values", "draws", "message"),
    [
        ({}, 0, "space.values: must have a list of values"),
        ({"architecture": {"width": []}}, 0, "space.values.architecture.width=[]: must be a list of values"),
        ({"architecture": {"width": 64}}, 0, "must be a list of values"),
        ({"architecture": {"norm": "none"}}, 0, "must be a list of values"),
        ({"architecture": {"width": [64, 64]}}, 0, "must be different values"),
        ({"image_lr": [0.1]}, 0, "space.values.image_lr: candidates can differ in"),
        ({"evaluation": {"networks": [1]}}, 0, "space.values.evaluation.networks: candidates can differ in"),
        ({"evaluation": {"lr": {"least": 0.1, "most": 1}}}, 0, "a range is drawn from; add space.draws=20"),
        ({"evaluation": {"lr": {"least": 1, "most": 0.1}}}, 5, "a range is {least: 0.001"),
        ({"evaluation": {"lr": {"least": 0, "most": 1, "log": True}}}, 5, "a range is {least: 0.001"),
        ({"evaluation": {"lr": {"least": 0.1}}}, 5, "a range is {least: 0.001"),
        ({"architecture": {"width": [8, 16]}}, 3, "space.draws=3: there are 2 candidates"),
    ],
)
def test_wrong_spaces_are_refused(values: dict[str, Any], draws: int, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        candidates(values, draws, rng())
    assert message in str(caught.value)
