"""The image gradient against loops over classes: in one chunk, in several, and with mixed batches."""

import functools

import pytest
import torch
from torch.nn.functional import cross_entropy

from gmlight.data.images import ClassDraw
from gmlight.matching import distances, rules
from gmlight.matching.image_gradient import GradientMatcher
from gmlight.matching.real_gradients import real_gradients
from helpers import naive_algorithm
from helpers.problems import gradient_engine, numbered_classes, random_images, real_images, small_network

COUNTS, IPC = (3, 5, 2), 4
PRIORS = [0.5, 0.3, 0.2]
DISTANCE = functools.partial(distances.cos_euclid, weight=0.7)
SHARES = {
    "equal": ([1 / 3] * 3, [1 / 3] * 3),
    "priors": (PRIORS, PRIORS),
    "batch": ([1 / 3] * 3, [0.3, 0.5, 0.2]),
    "given": ([0.6, 0.1, 0.3], [0.6, 0.1, 0.3]),
}


def matcher(
    rule: rules.MatchingRule, chunk: int | None = None, mixed: int = 256, layers: str | float = "all"
) -> GradientMatcher:
    engine = gradient_engine(layers=layers)
    return GradientMatcher(
        numbered_classes(3, PRIORS), rule, DISTANCE, engine, classes_per_chunk=chunk, mixed_synthetic=mixed
    )


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_real_images_in_chunks_keep_their_labels(chunk: int) -> None:
    network = small_network().eval().float()
    pixels = torch.randint(256, (10, 2, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    split = real_images(pixels, torch.tensor([2, 0, 1, 1, 0, 1, 2, 1, 0, 1]), [0.4, 0.6], [0.2, 0.3])
    found = real_gradients(gradient_engine(), network, ClassDraw(split, split.class_indices()), chunk)
    assert found.sizes == list(COUNTS)
    images, labels = split.batch(torch.arange(10))
    by_class = [images[labels == c] for c in range(3)]
    expected = naive_algorithm.class_gradients(network, by_class)
    for i, layer in enumerate(found.layers.values()):
        for c in range(3):
            torch.testing.assert_close(layer[c], expected[c][i], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("chunk", [None, 1, 2])
@pytest.mark.parametrize("weights", SHARES)
def test_chunks_give_the_loss_and_the_gradient_of_plain_loops(weights: str, chunk: int | None) -> None:
    network = small_network().eval()
    images = random_images(3, IPC, 2, 8, 8, seed=9)
    real = [random_images(n, 2, 8, 8, seed=n) for n in COUNTS]
    synthetic_shares, real_shares = SHARES[weights]
    given = synthetic_shares if weights == "given" else weights
    chosen = matcher(rules.multilevel(1.5, given), chunk)
    result = chosen.match(network, images, chosen.real_gradients(network, real), k=0)

    leaf = images.clone().requires_grad_()
    sides = (
        naive_algorithm.class_gradients(network, list(leaf), create_graph=True),
        naive_algorithm.class_gradients(network, real),
    )
    within, between = (
        naive_algorithm.matching_loss(rule, *sides, "cos_euclid", 0.7, 0, 1.5, synthetic_shares, real_shares)
        for rule in ("intra", "inter")
    )
    (expected,) = torch.autograd.grad(within + between, leaf)
    torch.testing.assert_close(result.terms["intra"], within.detach(), rtol=1e-10, atol=0)
    torch.testing.assert_close(result.terms["inter"], between.detach(), rtol=1e-10, atol=0)
    torch.testing.assert_close(result.image_gradient, expected, rtol=1e-9, atol=1e-12)


# Of two convolutions and a classifier: the places of those that are matched.
LAYERS: dict[str | float, list[int]] = {
    "all": [0, 1, 2],
    "conv": [0, 1],
    0.1: [2],
    0.5: [1, 2],
    1.0: [0, 1, 2],
}


@pytest.mark.parametrize("chunk", [None, 1])
@pytest.mark.parametrize("layers", LAYERS)
def test_some_layers_are_matched(layers: str | float, chunk: int | None) -> None:
    network = small_network().eval()
    images = random_images(3, IPC, 2, 8, 8, seed=9)
    real = [random_images(n, 2, 8, 8, seed=n) for n in COUNTS]
    chosen = matcher(rules.multilevel(1.5), chunk, layers=layers)
    result = chosen.match(network, images, chosen.real_gradients(network, real), k=0)

    leaf = images.clone().requires_grad_()
    sides = [
        [
            [gradients[i] for i in LAYERS[layers]]
            for gradients in naive_algorithm.class_gradients(network, *given)
        ]
        for given in ((list(leaf), True), (real,))
    ]
    shares = [1 / 3] * 3
    loss = sum(
        naive_algorithm.matching_loss(rule, *sides, "cos_euclid", 0.7, 0, 1.5, shares, shares)
        for rule in ("intra", "inter")
    )
    (expected,) = torch.autograd.grad(loss, leaf)
    torch.testing.assert_close(
        torch.stack(list(result.terms.values())).sum(), loss.detach(), rtol=1e-10, atol=0
    )
    torch.testing.assert_close(result.image_gradient, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("drawn", [5, 256])
def test_a_mixed_batch_is_matched_by_some_synthetic_images(drawn: int) -> None:
    network = small_network().eval()
    images = random_images(3, IPC, 2, 8, 8, seed=9)
    real, labels = random_images(7, 2, 8, 8, seed=5), torch.tensor([0, 1, 2, 2, 2, 1, 2])
    chosen = matcher(rules.inter(1.5), mixed=drawn)
    on_real = chosen.mixed_real_gradient(network, real, labels)
    result = chosen.match_mixed(network, images, on_real, 0, torch.Generator().manual_seed(1))

    # The images that were drawn are those with a gradient: no image twice, and of any class.
    flat = result.image_gradient.flatten(0, 1)
    chosen_images = flat.flatten(1).abs().sum(1).nonzero().squeeze(1)
    assert len(chosen_images) == min(drawn, 12)
    classes = torch.arange(3).repeat_interleave(IPC)[chosen_images]
    assert len(classes.unique()) == 3

    leaf = images.flatten(0, 1)[chosen_images].requires_grad_()
    weights = [parameter for parameter in network.parameters() if parameter.ndim >= 2]
    ours = torch.autograd.grad(cross_entropy(network(leaf), classes), weights, create_graph=True)
    theirs = torch.autograd.grad(cross_entropy(network(real), labels), weights)
    layers = [naive_algorithm.distance("cos_euclid", 0.7, a, b) for a, b in zip(ours, theirs, strict=True)]
    loss = 1.5 * torch.stack(layers).sum()
    (expected,) = torch.autograd.grad(loss, leaf)
    torch.testing.assert_close(result.terms["inter"], loss.detach(), rtol=1e-10, atol=0)
    torch.testing.assert_close(flat[chosen_images], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("chunk", [None, 1, 2])
@pytest.mark.parametrize("rule", ["intra", "inter", "multilevel"])
def test_losses_of_the_layers_add_up_to_the_matching_loss(rule: str, chunk: int | None) -> None:
    network = small_network().eval()
    chosen = matcher(rules.intra() if rule == "intra" else getattr(rules, rule)(1.5), chunk)
    real = chosen.real_gradients(network, [random_images(n, 2, 8, 8, seed=n) for n in COUNTS])
    result = chosen.match(network, random_images(3, IPC, 2, 8, 8, seed=9), real, k=0, diagnose=True)
    layers = [loss for name, loss in result.diagnostics.items() if name.startswith("matching_loss/layer/")]
    assert len(layers) == 3  # two convolutions and the classifier
    assert len(result.terms) == (2 if rule == "multilevel" else 1)
    total = torch.stack(list(result.terms.values())).sum()
    torch.testing.assert_close(torch.stack(layers).sum(), total, rtol=1e-10, atol=0)
