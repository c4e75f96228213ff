"""Decoding by hand: labels and places of the parts of each image."""

import torch

from gmlight.artifacts.decoding import Stored, formed


def test_the_parts_of_a_class_follow_each_other_row_after_row() -> None:
    """Two classes with one stored image each, whose four quarters have one value."""
    quarters = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]])
    stored = quarters.repeat_interleave(3, 1).repeat_interleave(2, 2).unsqueeze(1)  # [2, 1, 6, 4]
    images, labels = formed(
        Stored({"images": stored}, {"name": "multi_formation", "factor": 2}), 2, [0.0], [1.0]
    )
    assert images.shape == (8, 1, 6, 4)
    assert [image.unique().tolist() for image in images] == [[float(v)] for v in range(1, 9)]
    assert labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_mixed_components_are_normalised_pixels() -> None:
    """Weights 1 and 2 of components 0.5 and -1: the sigmoid of -1.5, minus mean 0.2, over std 0.4."""
    components = torch.tensor([0.5, -1.0]).view(1, 2, 1, 1, 1).expand(1, 2, 1, 2, 3)
    weights = torch.tensor([[[1.0, 2.0], [0.0, 0.0], [2.0, 1.0]]])
    tensors = {"components": components, "weights": weights}
    images, labels = formed(Stored(tensors, {"name": "shared_components"}), 1, [0.2], [0.4])
    expected = [(p - 0.2) / 0.4 for p in (0.182425524, 0.5, 0.5)]
    torch.testing.assert_close(images.mean((1, 2, 3)), torch.tensor(expected), rtol=1e-5, atol=1e-6)
    assert labels.tolist() == [0, 0, 0]
