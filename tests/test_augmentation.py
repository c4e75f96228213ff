"""The batched transforms against their plain definitions, image by image."""

import torch
from torch.nn.functional import interpolate

from gmlight.augmentation import crop, crop_scale_rotate, rescale, rotate


def images(channels: int = 2) -> torch.Tensor:
    return torch.randn(6, channels, 28, 28, generator=torch.Generator().manual_seed(0))


def test_crop() -> None:
    batch, fill = images(), torch.tensor([0.3, -0.2])
    offsets = torch.tensor([[0, 0], [7, 7], [4, 4], [0, 7], [2, 5], [3, 1]])
    actual = crop(batch, offsets, 4, fill)
    for image, (down, right), result in zip(batch, offsets.tolist(), actual, strict=True):
        padded = fill.view(2, 1, 1).repeat(1, 36, 36)
        padded[:, 4:32, 4:32] = image
        torch.testing.assert_close(result, padded[:, down : down + 28, right : right + 28])


def test_rescale() -> None:
    batch = images()
    factors = torch.tensor([[0.8, 0.8], [1.2, 1.2], [1.0, 1.0], [0.8, 1.2], [1.17, 0.93], [0.9, 1.04]])
    actual = rescale(batch, factors)
    for image, (tall, wide), result in zip(batch, factors.tolist(), actual, strict=True):
        height, width = int(28 * tall), int(28 * wide)
        resized = interpolate(image[None], (height, width), mode="nearest")[0]
        tall_canvas, wide_canvas = max(height, 28), max(width, 28)
        canvas = torch.zeros(2, tall_canvas, wide_canvas)
        top, left = (tall_canvas - height) // 2, (wide_canvas - width) // 2
        canvas[:, top : top + height, left : left + width] = resized
        top, left = (tall_canvas - 28) // 2, (wide_canvas - 28) // 2
        assert torch.equal(result, canvas[:, top : top + 28, left : left + 28])


def test_rotate() -> None:
    batch = images(1)
    quarter = rotate(batch, torch.full((6,), 90), torch.tensor(0.0))
    torch.testing.assert_close(quarter, batch.rot90(1, (2, 3)), atol=1e-4, rtol=0)
    still = rotate(batch, torch.zeros(6, dtype=torch.long), torch.tensor(0.5))
    torch.testing.assert_close(still, batch, atol=1e-4, rtol=0)
    corner = rotate(batch, torch.full((6,), 45), torch.tensor(0.5))[:, :, 0, 0]
    torch.testing.assert_close(corner, torch.full((6, 1), 0.5))


def test_each_image_gets_one_of_three_and_the_seed_decides() -> None:
    batch = torch.randn(300, 1, 28, 28, generator=torch.Generator().manual_seed(0))

    def augmented(seed: int) -> torch.Tensor:
        rng = torch.Generator().manual_seed(seed)
        return crop_scale_rotate(batch, rng, padding=4, scale=(0.8, 1.2), degrees=45)

    first = augmented(1)
    assert first.shape == batch.shape
    assert first.isfinite().all()
    assert torch.equal(first, augmented(1))
    assert not torch.equal(first, augmented(2))
    changed = (first != batch).flatten(1).any(1)
    assert changed.float().mean() > 0.9


def test_a_single_image() -> None:
    for seed in range(9):  # whichever of the three it gets
        rng = torch.Generator().manual_seed(seed)
        result = crop_scale_rotate(images()[:1], rng, padding=4, scale=(0.8, 1.2), degrees=45)
        assert result.shape == (1, 2, 28, 28)
