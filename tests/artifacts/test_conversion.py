"""Conversion to a dataset's classes and normalisation, compared with plain loops; misfits are refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gmlight.artifacts.conversion import Converted, Statistics, convert
from gmlight.artifacts.decoding import multi_formed
from gmlight.artifacts.foreign_labels import read_labels
from gmlight.artifacts.foreign_set import ForeignSet
from gmlight.data.images import DatasetInfo
from gmlight.errors import ConfigError

INFO = DatasetInfo(("cat", "dog"), (0.5, 0.4), (0.2, 0.25), (2, 4, 4), (0.5, 0.5))
SOURCE = Statistics((0.3, 0.6), (0.1, 0.5))
PIXELS = Statistics.of_pixels(2)
IMAGES = torch.rand(4, 2, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([1, 0, 0, 1])
SOFT = torch.tensor([[0.25, 0.75], [0.5, 0.5], [0.875, 0.125], [0.0, 1.0]])


def found(images: Tensor = IMAGES, labels: Tensor = LABELS, **options: Any) -> ForeignSet:
    return ForeignSet("dc", [Path("x")], images, labels, **options)


def converted(foreign: ForeignSet, source: Statistics = PIXELS, **options: Any) -> Converted:
    return convert(foreign, INFO, source, **{"factor": 1, "logits": False, **options})


@pytest.mark.parametrize("source", [SOURCE, PIXELS])
def test_images_are_normalised_as_the_dataset(source: Statistics) -> None:
    made, expected = converted(found(), source), IMAGES.clone()
    for image in expected:
        for c, channel in enumerate(image):
            pixels = [value * source.std[c] + source.mean[c] for value in channel.flatten().tolist()]
            channel.copy_(torch.tensor([(p - INFO.mean[c]) / INFO.std[c] for p in pixels]).view(4, 4))
    torch.testing.assert_close(made.images.images, expected)
    assert torch.equal(made.images.labels, LABELS)
    assert (made.stored, made.ipc, made.images.soft_labels) == (None, 2, None)


def test_images_normalised_as_the_dataset_stay_bit_for_bit() -> None:
    made = converted(found(IMAGES * 3 - 1), Statistics(INFO.mean, INFO.std))
    assert torch.equal(made.images.images, IMAGES * 3 - 1)


def test_8_bit_pixels_are_divided_by_255() -> None:
    bytes_ = (IMAGES * 255).byte()
    torch.testing.assert_close(
        converted(found(bytes_)).images.images, converted(found(bytes_ / 255)).images.images
    )


def test_a_factor_cuts_each_image() -> None:
    """Stored by class; soft labels are repeated for the parts of their image."""
    made = converted(found(soft_labels=SOFT), SOURCE, factor=2)
    plain = converted(found(), SOURCE).images.images
    assert made.stored is not None
    assert torch.equal(made.stored.tensors["images"], plain[[1, 2, 0, 3]])
    assert made.stored.form == {"name": "multi_formation", "factor": 2}
    formed = multi_formed(plain[[1, 2, 0, 3]].unflatten(0, (2, 2)), 2)
    assert torch.equal(made.images.images, formed.flatten(0, 1))
    assert made.images.labels.tolist() == [0] * 8 + [1] * 8
    assert made.images.soft_labels is not None
    rows = [SOFT[i].tolist() for i in (1, 2, 0, 3) for _ in range(4)]
    assert made.images.soft_labels.tolist() == rows
    assert (made.ipc, made.images.floats) == (2, IMAGES.numel() + 32)


def test_the_most_probable_classes_are_the_labels() -> None:
    soft = torch.tensor([[0.1, 0.9], [0.8, 0.2], [0.7, 0.3], [0.4, 0.6]])
    made = converted(found(labels=soft))
    assert made.images.labels.tolist() == [1, 0, 0, 1]
    assert torch.equal(made.images.targets, soft)
    uneven = torch.tensor([[0.1, 0.9], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]])
    assert converted(found(labels=uneven)).images.labels.tolist() == [0, 0, 1, 1]  # MTT's order


def test_logits_become_probabilities() -> None:
    logits = torch.tensor([[2.0, -1.0], [0.5, 0.0], [-3.0, 4.0], [0.0, 1.0]])
    made = converted(found(labels=logits), logits=True)
    exponents = logits.exp()
    torch.testing.assert_close(made.images.targets, exponents / exponents.sum(1, keepdim=True))


@pytest.mark.parametrize(
    ("names", "labels", "soft"),
    [
        (["cat", "dog"], [1, 0, 0, 1], SOFT),
        (["dog", "cat"], [0, 1, 1, 0], SOFT.flip(1)),
        (["0_cat", "1_dog"], [1, 0, 0, 1], SOFT),
        (["0", "1"], [1, 0, 0, 1], SOFT),
        (["1", "0"], [0, 1, 1, 0], SOFT.flip(1)),
    ],
    ids=str,
)
def test_classes_are_told_by_their_names(names: list[str], labels: list[int], soft: Tensor) -> None:
    made = converted(found(classes=names, soft_labels=SOFT))
    assert made.images.labels.tolist() == labels
    assert made.images.soft_labels is not None
    assert torch.equal(made.images.soft_labels, soft)


def test_soft_labels_of_three_classes_in_another_order() -> None:
    """With two classes, an order and its inverse are the same."""
    soft = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.0, 0.4, 0.6]])  # of cow, dog, ant
    foreign = ForeignSet(
        "dc",
        [Path("x")],
        IMAGES[:3],
        torch.tensor([0, 1, 2]),
        soft_labels=soft,
        classes=["cow", "dog", "ant"],
    )
    labels, converted_soft = read_labels(foreign, ["ant", "cow", "dog"], logits=False)
    assert labels.tolist() == [1, 2, 0]
    assert converted_soft is not None
    assert torch.equal(converted_soft, soft[:, [2, 0, 1]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": IMAGES[:, :1]}, r"images: are \[4, 1, 4, 4\]; the dataset needs \[N, 2, 4, 4\]"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "images: are "),
        ({"images": IMAGES.long()}, "images: must be floats or uint8, not torch.int64"),
        ({"images": IMAGES * torch.inf}, "images: must be finite"),
        ({"images": IMAGES * 3 - 1}, "normalization=none: values are .* not pixels in 0..1"),
        ({"labels": LABELS[:3]}, r"labels: are \[3\] for 4 images"),
        ({"labels": LABELS + 1}, "labels: are 1 to 2; the dataset has the 2 classes 0 to 1"),
        ({"labels": LABELS - 1}, "labels: are -1 to 0"),
        ({"labels": LABELS.float()}, "labels: must be whole numbers, not torch.float32"),
        ({"labels": torch.tensor([0, 0, 0, 1])}, "labels: classes have 1 to 3 images"),
        ({"labels": torch.tensor([0, 0, 0, 0])}, "labels: classes have 0 to 4 images"),
        ({"labels": SOFT * 2}, "must be probabilities.*use soft_labels=logits"),
        ({"labels": SOFT - 0.5}, "must be probabilities.*use soft_labels=logits"),
        ({"labels": SOFT[:3]}, r"soft labels: must be \[4, 2\], not \[3, 2\]"),
        ({"labels": SOFT * torch.nan}, "soft labels: must be finite floats"),
        ({"soft_labels": SOFT.long()}, "soft labels: must be finite floats"),
        ({"classes": ["cat", "bird"]}, "classes: the set has cat, bird; the dataset"),
        ({"classes": ["cat", "dog", "bird"]}, "classes: the set has cat, dog, bird"),
        ({"classes": ["cat"]}, "classes: the set has cat"),
    ],
    ids=range(19),
)
def test_what_does_not_fit_is_refused(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        converted(replace(found(), **change))


def test_settings_that_do_not_fit_are_refused() -> None:
    for options, message in (
        ({"factor": 3}, "factor=3: must divide 4x4"),
        ({"logits": True}, "soft_labels=logits: there are no soft labels"),
        ({"source": Statistics((0.5,), (0.5,))}, "normalization: has 1 values for 2 channels"),
        ({"source": Statistics((0.5, 0.5), (1e6, 1e6))}, "images: are too large"),
    ):
        large = found(IMAGES * 3e38) if "too large" in message else found()
        with pytest.raises(ConfigError, match=message):
            converted(large, **options)  # type: ignore[arg-type]
    for mean, std in (((0.5,), (0.0,)), ((0.5,), (-1.0,)), ((float("nan"),), (1.0,)), ((), (1.0,)), ((), ())):
        with pytest.raises(ConfigError, match="normalization: "):
            Statistics(mean, std)
