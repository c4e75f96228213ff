"""Draws of real images: numbers by hand, with images that are filled with their index."""

import pytest
import torch

from gmlight.data.images import ClassDraw, RealImages
from helpers.problems import real_images

COUNTS = (5, 3, 4)


@pytest.fixture
def split() -> RealImages:
    """Twelve 1x2x3 images of three classes; each image's pixels are its index in the sorted split."""
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))
    images = torch.arange(12, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 3)
    order = torch.tensor([11, 0, 5, 7, 1, 8, 9, 2, 3, 10, 6, 4])
    made = real_images(images[order], labels[order], mean=[0.0], std=[1 / 255])
    # Sorting by class keeps the given order within a class.
    assert made.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 7, 6, 11, 8, 9, 10]
    return made


def numbers(images: torch.Tensor) -> list[int]:
    return images[:, 0, 0, 0].round().int().tolist()


def test_a_mixed_batch_has_no_image_twice(split: RealImages) -> None:
    for seed in range(20):
        images, labels = split.draw_mixed(9, torch.Generator().manual_seed(seed))
        found = numbers(images)
        assert len(found) == len(set(found)) == 9
        assert labels.tolist() == [0 if i < 5 else 1 if i < 8 else 2 for i in found]
    images, _ = split.draw_mixed(50, torch.Generator())
    assert sorted(numbers(images)) == list(range(12))  # all, if there are fewer


def test_mixed_batches_follow_the_sizes_of_the_classes(split: RealImages) -> None:
    drawn = torch.cat([split.draw_mixed(2, torch.Generator().manual_seed(i))[1] for i in range(600)])
    shares = (drawn.bincount() / len(drawn)).tolist()
    assert shares == pytest.approx([5 / 12, 3 / 12, 4 / 12], abs=0.05)


def test_slices_of_a_lazy_draw_are_those_classes(split: RealImages) -> None:
    drawn = ClassDraw(split, [torch.tensor([4, 0]), torch.tensor([5]), torch.tensor([8, 11, 9])])
    assert drawn.sizes == [2, 1, 3]
    assert [numbers(images) for images in drawn[:]] == [[4, 0], [5], [11, 10, 8]]
    assert [numbers(images) for images in drawn[1:3]] == [[5], [11, 10, 8]]
    assert drawn[2:3].shape == (1, 3, 1, 2, 3)
    assert drawn.class_bytes == 4 * 3 * 6  # floats of the largest class


def test_a_transform_gets_the_labels_of_its_slice(split: RealImages) -> None:
    def scaled(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return images + 100 * labels.view(-1, 1, 1, 1)

    drawn = ClassDraw(split, [torch.tensor([4, 0]), torch.tensor([5]), torch.tensor([8])]).transformed(scaled)
    assert [numbers(images) for images in drawn[:]] == [[4, 0], [105], [211]]
    assert [numbers(images) for images in drawn[1:]] == [[105], [211]]


def test_each_class_is_drawn_without_replacement(split: RealImages) -> None:
    lazily = split.draw_lazily(4, torch.Generator().manual_seed(3))
    assert lazily.sizes == [4, 3, 4]
    for c, images in enumerate(lazily[:]):
        found = set(numbers(images))
        assert len(found) == lazily.sizes[c]
        assert found <= set(range(*((0, 5), (5, 8), (8, 12))[c]))
    assert numbers(lazily[0:1][0]) != numbers(split.draw_lazily(4, torch.Generator().manual_seed(4))[0:1][0])
