"""Each matching rule with each distance against the naive version."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from gmlight.errors import ConfigError
from gmlight.matching import rules
from gmlight.matching.class_gradients import ClassGradients, class_gradients, matched_weights
from gmlight.matching.image_gradient import GradientMatcher
from helpers import naive_algorithm
from helpers.problems import (
    DISTANCES,
    distance_named,
    numbered_classes,
    random_images,
    rule_named,
    small_network,
)

SIZES, IPC = (3, 5, 1), 2
PRIORS = [0.5, 0.3, 0.2]
RULES = ("intra", "inter", "interleaved", "multilevel")


def problem(norm: str = "instance") -> tuple[torch.nn.Module, torch.Tensor, list[torch.Tensor]]:
    synthetic = random_images(3, IPC, 2, 8, 8, seed=9).requires_grad_()
    return small_network(norm).eval(), synthetic, [random_images(n, 2, 8, 8, seed=n) for n in SIZES]


def test_each_class_has_its_own_distance() -> None:
    """Two layers of three classes: SSE of 1 and 4 numbers that differ by c + 1."""
    real = {"a": torch.zeros(3, 1, 1), "b": torch.zeros(3, 2, 2)}
    synthetic = {name: layer + torch.arange(1.0, 4.0).view(3, 1, 1) for name, layer in real.items()}
    found = rules.distances_within(synthetic, real, distance_named("sse", 1.0))
    assert found.tolist() == [5.0, 20.0, 45.0]


@pytest.mark.parametrize("norm", ["instance", "layer", "batch"])
@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("k", [0, 1])
@pytest.mark.parametrize("rule", RULES)
def test_loss_and_image_gradient_equal_the_naive_version(rule: str, k: int, name: str, norm: str) -> None:
    network, synthetic, real = problem(norm)
    terms = rule_named(rule)(
        ClassGradients(class_gradients(network, synthetic, create_graph=True), [IPC] * 3, PRIORS),
        ClassGradients(class_gradients(network, real), SIZES, PRIORS),
        distance_named(name, 0.7),
        k,
    )
    loss = torch.stack(list(terms.values())).sum()
    twin = naive_algorithm.matching_loss(
        rule,
        naive_algorithm.class_gradients(network, list(synthetic), create_graph=True),
        naive_algorithm.class_gradients(network, real),
        name,
        0.7,
        k,
        inter_weight=3,
        synthetic_shares=[1 / 3] * 3,
        real_shares=[1 / 3] * 3,
    )
    torch.testing.assert_close(loss, twin, rtol=1e-10, atol=0)
    actual, expected = (torch.autograd.grad(value, synthetic)[0] for value in (loss, twin))
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-11 * expected.abs().max().item())


@pytest.mark.parametrize(
    ("choice", "synthetic_shares", "real_shares"),
    [
        ("priors", PRIORS, PRIORS),
        ("batch", [1 / 3] * 3, [n / 9 for n in SIZES]),
        ([0.6, 0.3, 0.1], [0.6, 0.3, 0.1], [0.6, 0.3, 0.1]),
    ],
    ids=str,
)
def test_class_weights(
    choice: str | list[float], synthetic_shares: list[float], real_shares: list[float]
) -> None:
    network, synthetic, real = problem()
    terms = rules.multilevel(inter_weight=1.5, class_weights=choice)(
        ClassGradients(class_gradients(network, synthetic), [IPC] * 3, PRIORS),
        ClassGradients(class_gradients(network, real), SIZES, PRIORS),
        distance_named("cos_euclid", 1.0),
        0,
    )
    twin = naive_algorithm.matching_loss(
        "inter",
        naive_algorithm.class_gradients(network, list(synthetic)),
        naive_algorithm.class_gradients(network, real),
        "cos_euclid",
        1.0,
        0,
        1.5,
        synthetic_shares,
        real_shares,
    )
    assert set(terms) == {"intra", "inter"}
    torch.testing.assert_close(terms["inter"], twin, rtol=1e-10, atol=0)


def test_batch_weights_match_the_gradients_on_the_unions() -> None:
    network, synthetic, real = problem()
    names = matched_weights(network)

    def union(batches: list[torch.Tensor]) -> list[torch.Tensor]:
        labels = torch.arange(3).repeat_interleave(torch.tensor([len(batch) for batch in batches]))
        loss = cross_entropy(network(torch.cat(batches)), labels)
        return list(torch.autograd.grad(loss, [network.get_parameter(name) for name in names]))

    expected = sum(
        naive_algorithm.distance("sse", 1.0, s, r)
        for s, r in zip(union(list(synthetic)), union(real), strict=True)
    )
    terms = rules.inter(inter_weight=1.0, class_weights="batch")(
        ClassGradients(class_gradients(network, synthetic), [IPC] * 3, PRIORS),
        ClassGradients(class_gradients(network, real), SIZES, PRIORS),
        distance_named("sse", 1.0),
        0,
    )
    torch.testing.assert_close(terms["inter"], expected, rtol=1e-10, atol=0)


def test_dead_units_leave_the_image_gradient_finite() -> None:
    network, synthetic, real = problem("none")
    with torch.no_grad():
        network.conv1.bias.fill_(-1e3)  # every unit of the second block is dead: rows of zeros on both sides
    for name in DISTANCES:
        terms = rule_named("multilevel")(
            ClassGradients(class_gradients(network, synthetic, create_graph=True), [IPC] * 3, PRIORS),
            ClassGradients(class_gradients(network, real), SIZES, PRIORS),
            distance_named(name, 1.0),
            0,
        )
        loss = torch.stack(list(terms.values())).sum()
        (gradient,) = torch.autograd.grad(loss, synthetic)
        assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("name", "levels", "mixed"),
    [
        ("intra", [(True, False)] * 2, [False, False]),
        ("inter", [(False, True)] * 2, [True, True]),
        ("interleaved", [(True, False), (False, True)], [False, True]),
        ("multilevel", [(True, True)] * 2, [False, False]),
    ],
)
def test_what_a_rule_says_of_itself(name: str, levels: list[tuple], mixed: list[bool]) -> None:
    rule = rule_named(name)
    assert rule.name == name
    assert [rule.levels(k) for k in range(4)] == [rules.Levels(*each) for each in levels * 2]
    assert [rule.needs_mixed_batches(k) for k in range(4)] == mixed * 2


def test_a_rule_of_ones_own_is_a_function() -> None:
    network, synthetic, real = problem()

    def halved(synthetic: ClassGradients, real: ClassGradients, distance: object, k: int) -> dict:
        return {"half": 0.5 * rules.distances_within(synthetic.layers, real.layers, distance).sum()}

    rule = rules.as_rule(halved)
    assert rules.as_rule(rule) is rule
    assert rule.needs_mixed_batches(0)
    gradients = [
        ClassGradients(class_gradients(network, synthetic), [IPC] * 3, PRIORS),
        ClassGradients(class_gradients(network, real), SIZES, PRIORS),
    ]
    distance = distance_named("sse", 1.0)
    (half,) = rule(*gradients, distance, 0).values()
    (whole,) = rules.intra()(*gradients, distance, 0).values()
    torch.testing.assert_close(2 * half, whole)
    matcher = GradientMatcher(numbered_classes(3), halved, classes_per_chunk=2)
    real_gradients = matcher.real_gradients(network, torch.stack([batch[:1] for batch in real]))
    with pytest.raises(ConfigError, match="classes_per_chunk=3"):
        matcher.match(network, synthetic.detach(), real_gradients, 0)
