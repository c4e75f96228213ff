"""Class gradients against the naive version."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from gmlight.errors import ConfigError
from gmlight.matching.class_gradients import Blocks, class_gradients, matched_weights
from helpers import naive_algorithm
from helpers.problems import random_images, small_network


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "instance", "group"])
def test_class_gradients_equal_the_naive_version(norm: str) -> None:
    network = small_network(norm).eval()
    images = [random_images(n, 2, 8, 8, seed=n) for n in (3, 5, 1)]
    actual = class_gradients(network, images)
    expected = naive_algorithm.class_gradients(network, images)
    assert ("norm0.weight" in actual) == (
        norm == "layer"
    )  # a LayerNorm over [C, H, W] has matrices of scales
    for layer, (name, gradients) in enumerate(actual.items()):
        assert gradients.shape == (3, *network.get_parameter(name).shape)
        for c in range(3):
            torch.testing.assert_close(gradients[c], expected[c][layer], rtol=1e-10, atol=1e-14)


def test_gradients_are_differentiable_and_leave_the_network_unchanged() -> None:
    network = small_network()
    images = random_images(3, 2, 2, 8, 8).requires_grad_()
    before = {name: parameter.clone() for name, parameter in network.named_parameters()}
    loss = torch.stack(
        [g.square().sum() for g in class_gradients(network, images, create_graph=True).values()]
    ).sum()
    (actual,) = torch.autograd.grad(loss, images)

    by_class = naive_algorithm.class_gradients(network, list(images), create_graph=True)
    twin = torch.stack([g.square().sum() for layers in by_class for g in layers]).sum()
    torch.testing.assert_close(actual, torch.autograd.grad(twin, images)[0], rtol=1e-10, atol=1e-14)
    for name, parameter in network.named_parameters():
        assert parameter.grad is None
        assert torch.equal(parameter, before[name])


@pytest.mark.parametrize("classes_per_block", [1, 2, 3])
@pytest.mark.parametrize("microbatch", [1, 3, 4, 7])
@pytest.mark.parametrize("norm", ["none", "batch", "layer", "instance", "group"])
def test_blocks_and_microbatches_change_no_number(norm: str, microbatch: int, classes_per_block: int) -> None:
    network = small_network(norm).eval()
    images = random_images(3, 7, 2, 8, 8).requires_grad_()
    by_class = naive_algorithm.class_gradients(network, list(images), create_graph=True)
    weights = [torch.randn_like(of_layer) for of_layer in by_class[0]]

    def derivative(gradients: list[list[torch.Tensor]]) -> torch.Tensor:
        pairs = [zip(of_class, weights, strict=True) for of_class in gradients]
        total = torch.stack([(g.square() * w).sum() for pair in pairs for g, w in pair]).sum()
        return torch.autograd.grad(total, images)[0]

    blocks = Blocks(microbatch, classes_per_block)
    actual = class_gradients(network, images, create_graph=True, blocks=blocks)
    without_graph = class_gradients(network, images.detach(), blocks=blocks)
    for layer, (name, gradients) in enumerate(actual.items()):
        for c in range(3):
            torch.testing.assert_close(gradients[c], by_class[c][layer], rtol=1e-10, atol=1e-14)
        assert not without_graph[name].requires_grad
        torch.testing.assert_close(without_graph[name], gradients.detach(), rtol=1e-10, atol=1e-14)
    if norm == "layer" and classes_per_block > 1:
        return  # vmap's second derivative is wrong; the engine refuses it (test_engine.py)
    actual_derivative = derivative([[g[c] for g in actual.values()] for c in range(3)])
    torch.testing.assert_close(actual_derivative, derivative(by_class), rtol=1e-10, atol=1e-14)


def test_mixed_batches_in_microbatches() -> None:
    network, images = small_network(), random_images(7, 2, 8, 8)
    labels = torch.tensor([0, 1, 2, 2, 2, 1, 2])
    names = matched_weights(network)
    expected = torch.autograd.grad(
        cross_entropy(network(images), labels), [network.get_parameter(name) for name in names]
    )
    actual = class_gradients(network, images.unsqueeze(0), [labels], blocks=Blocks(3))
    for name, gradient in zip(names, expected, strict=True):
        torch.testing.assert_close(actual[name], gradient.unsqueeze(0), rtol=1e-10, atol=1e-14)


def test_only_weights_are_matched() -> None:
    names = matched_weights(small_network())
    assert names == ["conv0.weight", "conv1.weight", "linear.weight"]


def test_batch_weights_give_the_gradient_on_the_union() -> None:
    """Eq. 5, on batches of unequal size."""
    network = small_network()
    sizes = (3, 5, 1)
    images = [random_images(n, 2, 8, 8, seed=n) for n in sizes]
    labels = torch.arange(3).repeat_interleave(torch.tensor(sizes))
    names = matched_weights(network)
    union = torch.autograd.grad(
        cross_entropy(network(torch.cat(images)), labels), [network.get_parameter(name) for name in names]
    )
    for name, expected in zip(names, union, strict=True):
        gradients = class_gradients(network, images)[name]
        mean = sum(n / 9 * gradient for n, gradient in zip(sizes, gradients, strict=True))
        torch.testing.assert_close(mean, expected, rtol=1e-10, atol=1e-14)


def test_matched_weights_of_five_layers() -> None:
    """Three convolutions and two linear layers; shares round to whole weights, and the deepest count."""
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.GroupNorm(2, 2), nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3), nn.Flatten(),
        nn.Linear(8, 4), nn.Linear(4, 3),
    )  # fmt: skip
    everything = ["0.weight", "2.weight", "3.weight", "5.weight", "6.weight"]
    assert matched_weights(network) == matched_weights(network, 1.0) == everything
    assert matched_weights(network, "conv") == everything[:3]
    for share, number in ((0.01, 1), (0.3, 2), (0.5, 2), (0.6, 3), (0.75, 4), (0.9, 4)):
        assert matched_weights(network, share) == everything[-number:], share
    with pytest.raises(
        ConfigError, match=r"matching.layers=conv: the architecture has no convolutions; use all"
    ):
        matched_weights(nn.Linear(2, 2), "conv")
