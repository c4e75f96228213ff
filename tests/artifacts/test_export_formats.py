"""The share of values that a picture cannot hold, by hand."""

from pathlib import Path

import pytest
import torch

from gmlight.artifacts import condensed_set
from gmlight.artifacts.condensed_set import CondensedDataset
from gmlight.artifacts.export_formats import share_clipped, size_category
from gmlight.data.images import LabelledImages
from helpers.problems import named_classes


def test_values_below_0_and_above_1_are_clipped(tmp_path: Path) -> None:
    """Of twelve pixels in three channels: three below 0, one above 1; 0 and 1 themselves are held."""
    pixels = torch.tensor([[[[-0.2, 0.0], [0.5, -0.1]], [[1.0, 1.5], [-3.0, 0.7]], [[0.5, 0.5], [0.5, 0.5]]]])
    means, stds = [0.5, 0.25, 0.125], [0.25, 0.5, 0.125]
    mean, std = torch.tensor(means).view(-1, 1, 1), torch.tensor(stds).view(-1, 1, 1)
    info = named_classes("a", mean=means, std=stds)
    images = LabelledImages((pixels - mean) / std, torch.tensor([0]))
    condensed_set.write(tmp_path / "set", images, info, {})
    condensed = CondensedDataset(tmp_path / "set")
    assert share_clipped(condensed) == pytest.approx(4 / 12)


def test_size_categories_are_those_of_hugging_face() -> None:
    sizes = {
        1: "n<1K",
        999: "n<1K",
        1000: "1K<n<10K",
        10_000: "10K<n<100K",
        999_999: "100K<n<1M",
        10**6: "n>1M",
    }
    assert {images: size_category(images) for images in sizes} == sizes
