"""Data that a program gives, in every form."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, Subset, TensorDataset
from torchvision.datasets import ImageFolder

from gmlight.data.in_memory import convnet_depth, find_classes, in_memory, read, shared
from gmlight.data.inputs import Columns
from gmlight.data.pixels import _in_bytes
from gmlight.errors import ConfigError

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (24, 6, 4, 3), dtype=np.uint8)  # NHWC
GREY = RNG.integers(0, 256, (24, 6, 4), dtype=np.uint8)
LABELS = np.arange(24) % 3
NAMES = ["cat", "dog", "eel"]


class Pictures(Dataset):
    """As torchvision's datasets are."""

    def __init__(self, images: np.ndarray, convert: Any = Image.fromarray) -> None:
        self.images, self.convert = images, convert

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.convert(self.images[index]), int(LABELS[index])


def named(dataset: Dataset, **attributes: object) -> Dataset:
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return dataset


def hugging_face(images: np.ndarray, image: str = "image", label: str = "label") -> datasets.Dataset:
    features = datasets.Features({image: datasets.Image(), label: datasets.ClassLabel(names=NAMES)})
    rows = {image: [Image.fromarray(each) for each in images], label: LABELS.tolist()}
    return datasets.Dataset.from_dict(rows, features)


def first(images: np.ndarray) -> torch.Tensor:
    """Channels first."""
    return torch.from_numpy(images).permute(0, 3, 1, 2) if images.ndim == 4 else torch.from_numpy(images)


FORMS = {
    "pictures": Pictures,
    "arrays in a dataset": lambda images: Pictures(images, np.asarray),
    "tensors in a dataset": lambda images: TensorDataset(first(images), torch.from_numpy(LABELS)),
    "floats in a dataset": lambda images: Pictures(images, lambda image: image.astype(np.float32) / 255),
    "arrays": lambda images: (images, LABELS),
    "tensors": lambda images: (first(images), torch.from_numpy(LABELS)),
    "floats": lambda images: [first(images).double() / 255, LABELS.tolist()],
    "bytes and small labels": lambda images: (images, LABELS.astype(np.uint8)),
    "Hugging Face": hugging_face,
    "Hugging Face, other names": lambda images: hugging_face(images, "seen", "kind"),
    "Hugging Face, tensors": lambda images: hugging_face(images).with_format("torch"),
    "a subset": lambda images: Subset(Pictures(images), range(len(images))),
}


@pytest.mark.parametrize("images", [COLOUR, GREY], ids=["colour", "grey"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_tensors(form: str, images: np.ndarray) -> None:
    data = in_memory(FORMS[form](images), FORMS[form](images))
    expected = first(images) if images.ndim == 4 else first(images).unsqueeze(1)
    for split in (data.train, data.test):
        assert split is not None
        assert torch.equal(split.images, expected)
        assert split.images.dtype == torch.uint8
        assert split.labels.tolist() == LABELS.tolist()
    assert data.shape == (3 if images.ndim == 4 else 1, 6, 4)
    assert data.classes == (tuple(NAMES) if "Hugging" in form else ("0", "1", "2"))
    assert data.sha256 == in_memory((images, LABELS), (images, LABELS)).sha256


@pytest.mark.parametrize(
    "data",
    [
        named(Pictures(GREY), classes=NAMES),
        named(Pictures(GREY), class_to_idx={"eel": 2, "dog": 1, "cat": 0}),
        Subset(named(Pictures(GREY), classes=NAMES), range(15)),
    ],
)
def test_class_names_are_taken_where_the_data_has_them(data: Dataset) -> None:
    assert in_memory(data).classes == tuple(NAMES)


def test_a_torchvision_dataset(tmp_path: Path) -> None:
    for number, (image, label) in enumerate(Pictures(COLOUR)):
        (tmp_path / NAMES[label]).mkdir(exist_ok=True)
        image.save(tmp_path / NAMES[label] / f"{number:02d}.png")
    data = in_memory(ImageFolder(str(tmp_path)))
    assert data.classes == tuple(NAMES)
    assert torch.equal(data.train.images, first(COLOUR)[np.argsort(LABELS, kind="stable")])


def test_grey_pictures_among_coloured_ones_are_coloured() -> None:
    mixed = [(Image.fromarray((GREY if i % 2 else COLOUR)[i]), int(LABELS[i])) for i in range(24)]
    images = in_memory(mixed).train.images
    assert images.shape == (24, 3, 6, 4)
    assert torch.equal(images[1], torch.from_numpy(GREY[1]).expand(3, -1, -1))


def test_columns_can_be_named() -> None:
    rows = hugging_face(GREY).add_column("other", (2 - LABELS).tolist())
    assert in_memory(rows, columns=Columns(label="other")).train.labels.tolist() == (2 - LABELS).tolist()
    with pytest.raises(ConfigError, match=r"no column 'kind'; name it by label_column=, one of image, label"):
        in_memory(rows, columns=Columns(label="kind"))


@pytest.mark.parametrize(
    ("values", "pixels"),
    [
        ([[0.0, 1.0], [0.5, 0.2]], [[0, 255], [128, 51]]),
        ([[0, 255], [128, 51]], [[0, 255], [128, 51]]),
        ([[0, 1], [1, 0]], [[0, 1], [1, 0]]),
    ],
)
def test_a_column_of_numbers_is_bytes_or_shares(values: list, pixels: list) -> None:
    rows = datasets.Dataset.from_dict({"image": [values] * 4, "label": [0, 1, 0, 1]})
    found = in_memory(rows).train.images
    assert found.shape == (4, 1, 2, 2)
    assert found[0, 0].tolist() == pixels


def test_numbers_above_255_are_no_pixels() -> None:
    rows = datasets.Dataset.from_dict({"image": [[[0, 256], [1, 2]]] * 4, "label": [0, 1, 0, 1]})
    with pytest.raises(ConfigError, match="int64 values; give uint8"):
        in_memory(rows)


def test_the_data_is_known_while_it_is_shared() -> None:
    data = in_memory((GREY, LABELS), (GREY[:6], LABELS[:6]))
    with shared(data):
        train, test = read(None, False, sha256=data.sha256)
        assert (len(train[0]), len(test[0])) == (24, 6)
        assert find_classes(None, sha256=data.sha256) == ["0", "1", "2"]
    with pytest.raises(ConfigError, match="with the same images"):
        read(None, False, sha256=data.sha256)


@pytest.mark.parametrize(
    "changed", [(GREY + 1, LABELS), (GREY, 2 - LABELS), (GREY.reshape(24, 4, 6), LABELS)]
)
def test_other_data_has_another_hash(changed: tuple[np.ndarray, np.ndarray]) -> None:
    assert in_memory(changed).sha256 != in_memory((GREY, LABELS)).sha256


FLOATS = GREY / 255
WRONG = {
    "labels that are floats": ((GREY, LABELS + 0.5), "labels are float64; must be whole numbers"),
    "a label that is a float": ([(GREY[0], 0.5)] * 9, "label 0: is 0.5; must be a whole number"),
    "labels that are one-hot": ((GREY, np.eye(3)[LABELS]), "labels have the shape (24, 3); must be [N]"),
    "pixels up to 255": ((GREY * 1.0, LABELS), "must be in 0..1: divide them by 255"),
    "pixels below 0": ((FLOATS - 0.5, LABELS), "must be in 0..1: give them before normalisation"),
    "pixels that are no numbers": ((FLOATS * np.nan, LABELS), "must be in 0..1"),
    "pixels of another type": ((GREY.astype(int), LABELS), "images: int64 values; give uint8, or float"),
    "sizes that differ": (
        [(GREY[0], 0), (GREY[0][:5], 1)] * 12,
        "image 1 is 5x4, image 0 6x4; resize all to one size",
    ),
    "lengths that differ": ((GREY, LABELS[:-1]), "24 images and 23 labels"),
    "one class": ((GREY, LABELS * 0), "1 class; at least 2 are needed"),
    "a gap": ((GREY, LABELS * 2), "no image of class '1' (label 1); number the labels 0 to C-1"),
    "a label below 0": ((GREY, LABELS - 1), "labels from -1 to 1"),
    "four channels": ((np.zeros((24, 6, 5, 4), np.uint8), LABELS), "has no 1 or 3 channels"),
    "nothing": ((GREY[:0], LABELS[:0]), "is empty"),
    "images alone": (GREY, "ndarray cannot be read; give a dataset's name, a torch Dataset"),
    "splits": ({"train": 1, "test": 2}, "has the splits train, test; give one"),
    "a number": (3, "int has no length; give a dataset's name"),
    "no pairs": (list(GREY), "item 0 is a ndarray, not (image, label)"),
    "a name that OmegaConf reads": (named(Pictures(GREY), classes=["a", "${x}", "b"]), "is called '${x}'"),
    "too many labels": (named(Pictures(GREY), classes=["a", "b"]), "labels from 0 to 2; 2 classes"),
    "no images": ([], "is empty"),
    "too few to hold some out": ((GREY[:4], LABELS[:4]), "class '1' has one image, too few to hold some out"),
    "more than 8 bits": ([(Image.new("I", (4, 6)), 0)], "mode I, more than 8 bits"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_data_gets_one_clear_line(name: str) -> None:
    data, line = WRONG[name]
    with pytest.raises(ConfigError) as error:
        in_memory(data)
    assert str(error.value).startswith("train: ")
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_two_images_of_a_class_are_enough_to_hold_one_out() -> None:
    assert in_memory((GREY[:6], LABELS[:6])).classes == ("0", "1", "2")


def test_float_images_of_nothing_are_bytes() -> None:
    assert _in_bytes(torch.zeros(0, 1, 4, 4), "x").dtype == torch.uint8


@pytest.mark.parametrize(
    ("test", "line"),
    [
        ((GREY[:, :5], LABELS), "test: images are 1x5x4, those of train 1x6x4"),
        ((GREY, LABELS + 1), "test: labels from 1 to 3; 3 classes are numbered 0 to 2"),
        (named(Pictures(GREY), classes=NAMES), "test: classes are cat, dog, eel, those of train 0, 1, 2"),
    ],
)
def test_a_test_split_that_does_not_fit(test: object, line: str) -> None:
    with pytest.raises(ConfigError) as error:
        in_memory((GREY, LABELS), test)
    assert str(error.value) == line


@pytest.mark.parametrize(
    ("size", "depth"), [(2, 1), (8, 2), (16, 2), (28, 3), (32, 3), (64, 4), (96, 5), (128, 5)]
)
def test_depth_follows_the_size(size: int, depth: int) -> None:
    assert convnet_depth([size, size + 1]) == depth


@pytest.mark.parametrize(("height", "width"), [(8, 64), (64, 8)])
def test_depth_follows_the_shorter_side(height: int, width: int) -> None:
    assert convnet_depth([height, width]) == 2


def test_the_test_split_has_a_part_in_the_hash() -> None:
    train = (GREY, LABELS)
    hashes = {in_memory(train, test).sha256 for test in (None, train, (GREY, 2 - LABELS), (GREY + 1, LABELS))}
    assert len(hashes) == 4


def test_class_names_are_in_the_order_of_the_labels() -> None:
    data = named(Pictures(GREY), class_to_idx={"eel": 2, "zebra": 0, "cat": 1})
    assert in_memory(data).classes == ("zebra", "cat", "eel")
