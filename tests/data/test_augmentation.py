"""Batched transforms against their definitions, image by image."""

import functools
import math

import pytest
import torch
from torch.nn.functional import interpolate

from gmlight.builders.parts import build_augmentation
from gmlight.data.augmentation import (
    CutMix,
    as_augmentation,
    crop,
    crop_or_noise,
    crop_scale_rotate,
    none,
    rescale,
    rotate,
)
from gmlight.data.images import LabelledImages
from gmlight.runtime.paths import CONF_DIR
from gmlight.training.ensemble import Ensemble
from gmlight.training.steps import training_steps
from helpers.problems import random_images, siamese, small_network
from helpers.runs import composed


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


def test_seed_chooses_one_of_three_transforms_for_each_image() -> None:
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
    for seed in range(9):  # covers all three transforms
        rng = torch.Generator().manual_seed(seed)
        result = crop_scale_rotate(images()[:1], rng, padding=4, scale=(0.8, 1.2), degrees=45)
        assert result.shape == (1, 2, 28, 28)


def test_each_image_follows_its_own_draw() -> None:
    """Repeats the draws image by image."""
    batch = torch.randn(60, 2, 28, 28, generator=torch.Generator().manual_seed(0))
    actual = crop_scale_rotate(
        batch, torch.Generator().manual_seed(7), padding=4, scale=(0.8, 1.2), degrees=45
    )
    rng = torch.Generator().manual_seed(7)
    kinds = torch.randint(3, (60,), generator=rng)
    offsets = torch.randint(8, (60, 2), generator=rng)
    factors = torch.empty(60, 2).uniform_(0.8, 1.2, generator=rng)
    angles = torch.randint(-45, 45, (60,), generator=rng)
    fill = batch.mean((0, 2, 3))
    assert set(kinds.tolist()) == {0, 1, 2}
    for i, kind in enumerate(kinds.tolist()):
        one = batch[i : i + 1]
        expected = (
            crop(one, offsets[i : i + 1], 4, fill),
            rescale(one, factors[i : i + 1]),
            rotate(one, angles[i : i + 1], fill.mean()),
        )[kind]
        torch.testing.assert_close(actual[i : i + 1], expected)


def test_rotation_is_bilinear_with_fill_outside() -> None:
    """Compares with the definition, pixel by pixel: the source position and its four neighbours."""
    image, degrees, fill = images(1)[:1, :, :9, :12], 30, 0.25
    actual = rotate(image, torch.tensor([degrees]), torch.tensor(fill))[0, 0]
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    for y in range(9):
        for x in range(12):
            right, down = x - 5.5, y - 4.0  # from the centre
            source_x, source_y = cos * right - sin * down + 5.5, sin * right + cos * down + 4.0
            left, top = math.floor(source_x), math.floor(source_y)
            value = 0.0
            for row, weight_y in ((top, 1 - (source_y - top)), (top + 1, source_y - top)):
                for column, weight_x in ((left, 1 - (source_x - left)), (left + 1, source_x - left)):
                    inside = 0 <= row < 9 and 0 <= column < 12
                    value += weight_y * weight_x * (image[0, 0, row, column].item() if inside else fill)
            assert abs(actual[y, x].item() - value) < 1e-4


def test_crop_or_noise() -> None:
    batch = torch.randn(200, 2, 12, 12, generator=torch.Generator().manual_seed(0))
    result = crop_or_noise(batch, torch.Generator().manual_seed(1), padding=4, noise=0.001)
    difference = (result - batch).flatten(1).abs().amax(1)
    noisy = difference < 0.01
    assert 60 < noisy.sum() < 140
    assert (result - batch)[noisy].std() == pytest.approx(0.001, rel=0.05)
    rng = torch.Generator().manual_seed(1)
    cropped, offsets = (
        torch.randint(2, (200,), generator=rng).bool(),
        torch.randint(8, (200, 2), generator=rng),
    )
    expected = crop(batch, offsets, 4, batch.mean((0, 2, 3)))
    torch.testing.assert_close(result[cropped], expected[cropped])


def test_cutmix_pastes_a_rectangle_of_another_image() -> None:
    batch, rng, shares = images(), torch.Generator().manual_seed(0), []
    for _ in range(50):
        mixed, order, share = CutMix(1.0)(batch, rng)
        own = (mixed == batch).all(1)  # [N, H, W]
        other = (mixed == batch[order]).all(1)
        assert (own | other).all()
        for i, of_image in enumerate(own):
            if order[i] == i:
                continue
            rows, columns = (~of_image).any(1).nonzero().flatten(), (~of_image).any(0).nonzero().flatten()
            assert (~of_image).sum() == len(rows) * len(columns)  # one rectangle
            assert share == pytest.approx(of_image.float().mean().item())
        shares.append(share)
    assert min(shares) < 0.4
    assert max(shares) > 0.95
    assert sorted(order.tolist()) == list(range(6))


def test_cutmix_probability() -> None:
    rng = torch.Generator().manual_seed(0)
    mixed = [CutMix(0.25)(images(), rng)[2] < 1 for _ in range(400)]
    assert 70 < sum(mixed) < 130
    assert not any(CutMix(0.0)(images(), rng)[2] < 1 for _ in range(20))


def test_a_network_learns_both_labels_of_a_mixed_image() -> None:
    """Compares a step on a mixed batch with the loss computed by hand."""
    network, twin = (small_network().train() for _ in range(2))
    twin.load_state_dict(network.state_dict())
    batch, labels = random_images(6, 2, 8, 8), torch.arange(6) % 3
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    steps = training_steps(
        Ensemble([network]),
        optimizer,
        LabelledImages(batch, labels),
        batch_size=8,
        rngs=[torch.Generator().manual_seed(3)],
        augmentation=none,
        cutmix=CutMix(1.0),
    )
    next(steps)
    mixed, order, share = CutMix(1.0)(batch, torch.Generator().manual_seed(3))
    assert 0 < share < 1
    logs = twin(mixed).log_softmax(1)
    total = 0
    for i in range(6):
        total = total - share * logs[i, labels[i]] - (1 - share) * logs[i, labels[order[i]]]
    gradients = torch.autograd.grad(total / 6, list(twin.parameters()))
    for stepped, before, gradient in zip(network.parameters(), twin.parameters(), gradients, strict=True):
        torch.testing.assert_close(stepped, before - gradient, rtol=1e-9, atol=1e-11)


def test_an_augmentation_answers_for_itself() -> None:
    def blur(images: torch.Tensor, rng: torch.Generator, *, width: int) -> torch.Tensor:
        return images * width

    named = [as_augmentation(each) for each in (none, functools.partial(blur, width=2), siamese())]
    assert [each.protocol for each in named] == ["none", "blur", "dsa"]
    assert [each.while_matching for each in named] == [False, False, True]
    batch, rng = images(), torch.Generator()
    assert torch.equal(named[0](batch, rng), batch)
    assert torch.equal(named[1](batch, rng), 2 * batch)
    assert as_augmentation(named[1]) is named[1]


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF_DIR / "augmentation").glob("*.yaml")))
def test_every_option_draws_from_its_generator_alone(name: str) -> None:
    augmentation, images = build_augmentation(composed(f"augmentation={name}")), torch.randn(20, 1, 8, 8)
    drawn = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        drawn.append(augmentation(images, torch.Generator().manual_seed(7)))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*drawn)
    other = augmentation(images, torch.Generator().manual_seed(8))
    assert torch.equal(drawn[0], other) is (name == "none")


@pytest.mark.parametrize("name", ["none", "crop_scale_rotate", "crop_or_noise", "dsa"])
def test_every_option_names_its_protocol(name: str) -> None:
    built = build_augmentation(composed(f"augmentation={name}"))
    assert (built.protocol, built.while_matching) == (name, name == "dsa")


def test_cutmix_area_is_uniform() -> None:
    """On large images: a side is the root of the area. Unclipped, the mean pasted share would be 1/2.

    The centre is uniform too, so that the part inside is `E[(side - side**2 / 4)**2]` with the area's root as
    side: 1/2 - 1/5 + 1/48 = 0.3208.
    """
    rng = torch.Generator().manual_seed(0)
    batch = torch.zeros(1, 1, 200, 200)
    shares = [1 - CutMix(1.0)(batch, rng)[2] for _ in range(4000)]
    assert sum(shares) / len(shares) == pytest.approx(1 / 2 - 1 / 5 + 1 / 48, abs=0.015)


def test_cropped_and_scaled_images_keep_the_order_of_memory() -> None:
    """Convolutions of images in another order take two to four times as long on a CPU."""
    batch = torch.randn(5, 3, 8, 8)
    for seed in range(9):  # each draws one of crop, scale, rotate
        rng = torch.Generator().manual_seed(seed)
        assert crop_scale_rotate(batch, rng, padding=2, scale=(0.8, 1.2), degrees=45).is_contiguous()
        assert crop_or_noise(batch, rng, padding=2, noise=0.001).is_contiguous()
        assert CutMix(1.0)(batch, rng)[0].is_contiguous()
