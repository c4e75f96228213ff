"""Each distance against the naive version and torch's cosine, and its derivatives at critical points."""

import pytest
import torch
from torch.nn.functional import cosine_similarity

from gmlight.matching import distances
from helpers import naive_algorithm
from helpers.problems import DISTANCES, distance_named, random_images


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("weight", [1.0, 0.1, 100.0])
def test_distances_equal_the_naive_version(name: str, weight: float) -> None:
    a, b = random_images(3, 5, 7), random_images(3, 5, 7, seed=1)  # [C, out, length]
    actual = distance_named(name, weight)(a, b)
    assert actual.shape == (3,)
    for c in range(3):
        torch.testing.assert_close(
            actual[c], naive_algorithm.distance(name, weight, a[c], b[c]), rtol=1e-12, atol=0
        )


def test_cosine_equals_torch_also_at_zero_and_tiny_rows() -> None:
    a, b = random_images(6, 4), random_images(6, 4, seed=1)
    a[0], b[1], a[2], b[2], a[3] = 0, 0, 0, 0, 1e-12
    torch.testing.assert_close(
        distances.cos(a, b), (1 - cosine_similarity(a, b, dim=1)).sum(), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("case", ["zero synthetic", "zero real", "both zero", "equal"])
def test_derivatives_are_finite_at_critical_points(name: str, case: str) -> None:
    a, b = random_images(2, 3), random_images(2, 3, seed=1)
    if case in ("zero synthetic", "both zero"):
        a[0] = 0
    if case in ("zero real", "both zero"):
        b[0] = 0
    if case == "equal":
        b[0] = a[0]
    a.requires_grad_()
    value = distance_named(name, 1.0)(a, b)
    (first,) = torch.autograd.grad(value, a, create_graph=True)
    twin = naive_algorithm.distance(name, 1.0, a, b)
    torch.testing.assert_close(value, twin, rtol=1e-12, atol=0)
    if (
        case != "zero synthetic" or "cos" not in name
    ):  # here the naive version's clamp has another one-sided derivative
        (expected,) = torch.autograd.grad(twin, a)
        torch.testing.assert_close(first, expected, rtol=1e-10, atol=1e-14)
    assert first.isfinite().all()
    (second,) = torch.autograd.grad(first.square().sum(), a, allow_unused=True)
    assert second.isfinite().all()
    if case == "equal" and name in ("euclid", "sse", "mse"):
        assert (first[0] == 0).all()
