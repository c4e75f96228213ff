"""The inner loop by hand, and the defaults of the parts that a program puts together."""

import copy
import functools
import inspect
from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from gmlight.builders.parts import build_rule, build_schedule
from gmlight.condensation.condenser import IMAGE_SGD, Condenser
from gmlight.condensation.image_updates import ImageUpdates
from gmlight.condensation.inner_loop import EQUATION_12, NETWORK_SGD, InnerLoop, _CurrentLosses
from gmlight.condensation.schedules import Losses, adaptive
from gmlight.condensation.synthetic import Pixels
from gmlight.config.compose import instantiate
from gmlight.data.augmentation import CutMix
from gmlight.data.images import LabelledImages, RealBatch
from gmlight.errors import ConfigError
from gmlight.matching.image_gradient import COS_EUCLID, MULTILEVEL, GradientMatcher
from gmlight.runtime.seeding import seeded
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
    assert defaults["image_updates"] == ImageUpdates(config.image_steps, at_once=config.synthetic_batch)
    assert defaults["seed"] == config.seed
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


def trained(loop: InnerLoop, synthetic: LabelledImages, t: int = 0) -> int:
    """Trains the network of k = 0 after update t, with the first of `real_batches`."""
    loop.start(3, 0, torch.device("cpu"))
    (batch,) = real_batches(outer=1, updates=1, classes=3)
    batch.t = t
    return loop.train(synthetic, batch, seed=3)


def of_three_classes(count: int, seed: int) -> LabelledImages:
    return LabelledImages(random_images(count, 2, 8, 8, seed=seed), torch.arange(count) % 3)


def test_schedule_measures_the_losses_in_eval_mode() -> None:
    """Batch norm makes the two modes differ."""
    found, expected = [], []
    synthetic = of_three_classes(6, seed=1)
    (batch,) = real_batches(outer=1, updates=1, classes=3)
    assert batch.mixed is not None

    def measures(t: int, losses: Losses) -> Iterator[None]:
        for _ in range(3):
            found.append((losses.real(), losses.synthetic()))
            twin = copy.deepcopy(loop.network)
            assert twin is not None
            twin.eval()
            pairs = batch.mixed, (synthetic.images, synthetic.labels)
            expected.append(tuple(cross_entropy(twin(images), labels).item() for images, labels in pairs))
            yield

    loop = InnerLoop(functools.partial(small_network, "batch"), measures)
    assert trained(loop, synthetic) == 3
    assert found == [pytest.approx(each, rel=1e-10) for each in expected]
    assert len(set(found)) == 3


@pytest.mark.parametrize(("unit", "steps"), [("epochs", 4), ("steps", 2)])
def test_an_epoch_on_real_images_has_the_steps_of_the_synthetic_set(unit: str, steps: int) -> None:
    """Of 6 synthetic and 23 real images, in mini-batches of 4: two steps an epoch, not six."""
    sizes: list[int] = []

    def counted(images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        sizes.append(len(images))
        return images

    loop = InnerLoop(
        small_network,
        functools.partial(adaptive, epochs=2),
        unit=unit,
        batch_size=4,
        train_on=of_three_classes(23, seed=2),
        augmentation=counted,
    )
    assert trained(loop, of_three_classes(6, seed=1)) == 2
    assert sizes == [4] * steps


def test_the_network_learns_from_augmented_images() -> None:
    """Two steps by hand: momentum 0.4, and each mini-batch scaled by the augmentation's own number."""
    drawn: list[float] = []

    def scaled(images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        drawn.append(2 + torch.rand((), generator=rng).item())
        return drawn[-1] * images

    optimizer = functools.partial(torch.optim.SGD, lr=0.1, momentum=0.4)
    loop = InnerLoop(
        small_network, functools.partial(adaptive, epochs=2), optimizer=optimizer, augmentation=scaled
    )
    synthetic = of_three_classes(6, seed=1)
    trained(loop, synthetic)
    with seeded(3, "network", 0):
        twin = small_network()
    velocity = [torch.zeros_like(parameter) for parameter in twin.parameters()]
    for factor in drawn:
        loss = cross_entropy(twin(factor * synthetic.images), synthetic.labels)
        gradients = torch.autograd.grad(loss, list(twin.parameters()))
        velocity = [0.4 * v + gradient for v, gradient in zip(velocity, gradients, strict=True)]
        for parameter, v in zip(twin.parameters(), velocity, strict=True):
            parameter.data -= 0.1 * v
    assert len(set(drawn)) == 2
    assert loop.network is not None
    for actual, expected in zip(loop.network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)


def test_the_network_learns_from_mixed_images() -> None:
    """A step by hand: a quarter of each image, 4 x 4 pixels, comes from another image of the mini-batch."""
    weights = []

    class Corner(CutMix):
        def __call__(
            self, images: torch.Tensor, rng: torch.Generator
        ) -> tuple[torch.Tensor, torch.Tensor, float]:
            order = torch.randperm(len(images), generator=rng)
            mixed = images.clone()
            mixed[:, :, :4, :4] = images[order][:, :, :4, :4]
            weights.append(order)
            return mixed, order, 0.75

    optimizer = functools.partial(torch.optim.SGD, lr=0.1, weight_decay=0.3)
    loop = InnerLoop(
        small_network,
        functools.partial(adaptive, epochs=1),
        optimizer=optimizer,
        augmentation=lambda images, rng: 2 * images,
        cutmix=Corner(1.0),
    )
    synthetic = of_three_classes(6, seed=1)
    trained(loop, synthetic)
    with seeded(3, "network", 0):
        twin = small_network()
    (order,) = weights
    mixed = 2 * synthetic.images
    mixed[:, :, :4, :4] = 2 * synthetic.images[order][:, :, :4, :4]
    logits, labels = twin(mixed), synthetic.labels
    loss = 0.75 * cross_entropy(logits, labels) + 0.25 * cross_entropy(logits, labels[order])
    gradients = torch.autograd.grad(loss, list(twin.parameters()))
    assert loop.network is not None
    for actual, before, gradient in zip(loop.network.parameters(), twin.parameters(), gradients, strict=True):
        expected = before - 0.1 * (gradient + 0.3 * before)
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)


def test_statistics_move_in_train_mode_alone() -> None:
    """After one batch: momentum 0.1, from mean 0 and variance 1; the weights stay."""
    loop = InnerLoop(functools.partial(small_network, "batch"))
    loop.start(3, 0, torch.device("cpu"))
    assert loop.network is not None
    before = copy.deepcopy(loop.network)
    images = random_images(5, 2, 8, 8)
    loop.update_running_statistics(images)
    maps = before.conv0(images)
    torch.testing.assert_close(loop.network.norm0.running_mean, 0.1 * maps.mean((0, 2, 3)))
    torch.testing.assert_close(loop.network.norm0.running_var, 0.9 + 0.1 * maps.var((0, 2, 3)))
    for actual, expected in zip(loop.network.parameters(), before.parameters(), strict=True):
        assert torch.equal(actual, expected)


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


def test_each_update_shuffles_the_images_anew() -> None:
    def learned(t: int) -> torch.Tensor:
        loop = InnerLoop(small_network, functools.partial(adaptive, epochs={0: 2}), batch_size=2)
        trained(loop, of_three_classes(6, seed=1), t)
        assert loop.network is not None
        return torch.cat([parameter.detach().flatten() for parameter in loop.network.parameters()])

    assert torch.equal(learned(1), learned(1))
    assert not torch.equal(learned(0), learned(1))
