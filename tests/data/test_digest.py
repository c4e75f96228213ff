"""The digest of the data: every change that a network would see changes it."""

import torch
from torch import Tensor

from gmlight.data.digest import SplitDigest, digest_classes, digest_split, explain_changes
from gmlight.data.source import DataSource

IMAGES = torch.arange(4 * 3 * 2 * 5, dtype=torch.uint8).reshape(4, 3, 2, 5)
LABELS = torch.tensor([0, 0, 1, 0])


def digest(images: Tensor = IMAGES, labels: Tensor = LABELS, **other: list) -> SplitDigest:
    given = {"classes": ["a", "b"], "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]} | other
    return digest_split(images, labels, **given)


def test_every_change_is_seen() -> None:
    edited = IMAGES.clone()
    edited[3, 2, 1, 4] += 1
    changed = [
        digest(images=edited),
        digest(images=IMAGES.flip(0)),
        digest(images=IMAGES.reshape(4, 3, 5, 2)),
        digest(labels=LABELS.flip(0)),
        digest(images=IMAGES[:3], labels=LABELS[:3]),
        digest(classes=["b", "a"]),
        digest(mean=[0.5, 0.5, 0.4]),
        digest(std=[0.2, 0.2, 0.3]),
    ]
    assert len({each.sha256 for each in [digest(), *changed]}) == len(changed) + 1
    assert digest(images=IMAGES.clone(), labels=LABELS.clone()) == digest()
    assert digest().counts == [3, 1]


def test_a_split_is_named_with_its_numbers_of_images() -> None:
    def split(sha256: str, *counts: int) -> dict:
        return {"sha256": sha256, "counts": list(counts)}

    before = {"train": split("a", 20, 10), "test": split("c", 5, 5)}
    assert explain_changes(before, before) == []
    assert explain_changes(before, before | {"train": split("b", 20, 11)}) == [
        "training images (31, were 30)"
    ]
    assert explain_changes(before, before | {"test": split("d", 5, 5)}) == ["test images"]


def test_a_source_describes_both_splits_after_holding_out() -> None:
    images = torch.randint(
        0, 256, (20, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    labels = torch.arange(20) % 2
    info = DataSource.from_tensors((images, labels)).read(download=False).info
    assert info.digest is not None
    assert (sum(info.digest.train.counts), sum(info.digest.test.counts)) == (16, 4)
    assert info.digest.train.sha256 != info.digest.test.sha256
    assert info.digest.identity() == {
        "train": {"sha256": info.digest.train.sha256, "counts": [8, 8]},
        "test": {"sha256": info.digest.test.sha256, "counts": [2, 2]},
    }


def test_the_digest_of_a_class_depends_on_its_images_alone() -> None:
    [a, b] = digest_classes(IMAGES, LABELS, 2)
    assert a != b
    [other] = digest_classes(IMAGES[1:2], LABELS[:1], 1)
    assert digest_classes(IMAGES, LABELS.flip(0), 2)[1] == other
    edited = IMAGES.clone()
    edited[0, 0, 0, 0] += 1
    changed = digest_classes(edited, LABELS, 2)
    assert changed[0] != a
    assert changed[1] == b
    assert digest_classes(IMAGES[2:3], torch.tensor([0]), 2)[0] == b
    read = DataSource.from_tensors((edited, LABELS), (IMAGES, LABELS)).read(download=False)
    assert read.info.digest is not None
    assert read.info.digest.tested == [a, b]
