"""The two ways to resample images are one: by hand, in values and in gradients."""

import torch
from torch.nn.functional import grid_sample

from gmlight.data.resampling import by_corners, resample
from helpers.problems import random_images


def test_points_between_pixels_by_hand() -> None:
    images = torch.tensor([[[[1.0, 3.0], [5.0, 11.0]]]])
    # The centres of the pixels of two are at -0.5 and 0.5; beyond them, the outside counts as zero.
    points = torch.tensor([[-0.5, -0.5], [0.0, -0.5], [0.0, 0.0], [0.5, 0.25], [1.0, 0.5], [3.0, 0.0]])
    right = [1.0, 2.0, 5.0, 0.25 * 3 + 0.75 * 11, 5.5, 0.0]
    for function in (resample, by_corners):
        values = function(images, points.view(1, 1, -1, 2)).flatten()
        torch.testing.assert_close(values, torch.tensor(right))


def test_values_and_gradients_are_those_of_torch() -> None:
    images = random_images(3, 2, 5, 7).requires_grad_()
    grid = 1.5 * random_images(3, 4, 6, 2, seed=1)
    expected = grid_sample(images, grid, align_corners=False)
    actual = by_corners(images, grid)
    torch.testing.assert_close(actual, expected)
    weights = random_images(*expected.shape, seed=2)
    torch.testing.assert_close(
        torch.autograd.grad((actual * weights).sum(), images),
        torch.autograd.grad((expected * weights).sum(), images),
    )
