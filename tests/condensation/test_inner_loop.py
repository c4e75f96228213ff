"""The defaults of the parts that a program puts together by hand."""

import inspect

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from gmlight.builders.parts import build_rule, build_schedule
from gmlight.condensation.condenser import IMAGE_SGD, Condenser
from gmlight.condensation.inner_loop import EQUATION_12, NETWORK_SGD, InnerLoop, _CurrentLosses
from gmlight.condensation.synthetic import Pixels
from gmlight.config.compose import instantiate
from gmlight.data.images import LabelledImages, RealBatch
from gmlight.errors import ConfigError
from gmlight.matching.image_gradient import COS_EUCLID, MULTILEVEL, GradientMatcher
from helpers.condensers import condenser, fit, real_batches
from helpers.problems import numbered_classes, random_images, small_network
from helpers.runs import composed


def test_defaults_are_those_of_conf() -> None:
    config = composed()
    assert IMAGE_SGD.keywords == {"lr": config.image_lr, "momentum": config.image_momentum}
    assert NETWORK_SGD.keywords == {"lr": config.network_lr, "momentum": config.network_momentum}
    assert {IMAGE_SGD.func, NETWORK_SGD.func} == {torch.optim.SGD}
    schedule, distance = build_schedule(config), instantiate(config.distance)
    assert (EQUATION_12.func, EQUATION_12.keywords) == (schedule.func, schedule.keywords)
    assert (COS_EUCLID.func, COS_EUCLID.keywords) == (distance.func, distance.keywords)
    assert build_rule(config) == MULTILEVEL
    defaults = {
        name: parameter.default
        for part in (Condenser, InnerLoop, GradientMatcher)
        for name, parameter in inspect.signature(part).parameters.items()
    }
    mixed = composed("matching=inter").matching.mixed_synthetic
    assert (defaults["image_steps"], defaults["seed"]) == (config.image_steps, config.seed)
    assert (defaults["batch_size"], defaults["unit"]) == (config.train_batch, config.schedule.unit)
    assert (defaults["rule"], defaults["mixed_synthetic"]) == (MULTILEVEL, mixed)


def test_mixed_batches_for_a_rule_that_needs_classes_are_refused() -> None:
    assert build_rule(composed("matching=interleaved", "matching.mixed_real=8")).name == "interleaved"
    with pytest.raises(ConfigError, match="mixed_real=8"):
        build_rule(composed("matching=multilevel", "+matching.mixed_real=8"))


def test_three_parts_are_enough_to_condense() -> None:
    images = random_images(3, 1, 2, 8, 8)
    module = Condenser(
        Pixels(images), GradientMatcher(numbered_classes(3)), InnerLoop(small_network), updates=2
    ).double()
    fit(module, real_batches(outer=1, updates=2, classes=3))
    assert module.zeta_used == [[50]]
    assert not torch.equal(module.synthetic(), images)


def test_a_schedule_that_measures_needs_mixed_real_images() -> None:
    def measures(t: int, losses: object) -> object:
        yield losses.real()  # type: ignore[attr-defined]

    batches = real_batches(outer=1, updates=2, classes=3)
    batches[0].mixed = None
    module = condenser(random_images(3, 1, 2, 8, 8), 2, [], inner_loop={"schedule": measures})
    with pytest.raises(ConfigError, match="mixed_batch=0"):
        fit(module, batches)


@pytest.mark.parametrize(("number", "passes"), [(256, [256]), (600, [256, 256, 88])])
def test_schedule_measures_the_synthetic_loss_in_batches(number: int, passes: list[int]) -> None:
    images, labels = torch.randn(number, 1, 4, 4), torch.arange(number) % 3
    network, seen = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), []
    network.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    losses = _CurrentLosses(network, RealBatch(0, 0, ()), LabelledImages(images, labels))
    loss = losses.synthetic()
    assert seen == passes
    with torch.no_grad():
        expected = cross_entropy(network(images), labels, reduction="sum") / number
    assert loss == pytest.approx(expected.item(), rel=1e-6)
    if len(passes) == 1:
        assert loss == expected.item()
