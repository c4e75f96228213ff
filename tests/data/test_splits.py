"""Splits of each class: how many images are tested, which, and that earlier splits stay."""

import pytest
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from gmlight.data import splits
from gmlight.data.source import DataSource
from gmlight.data.splits import channel_statistics, stratified
from gmlight.errors import ConfigError


def mixed(*counts: int) -> tuple[Tensor, Tensor]:
    """Returns numbered images [N, 1, 1, 2], with labels in mixed order."""
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))]
    number = torch.arange(len(labels))
    return torch.stack([number // 256, number % 256], dim=1).to(torch.uint8).view(-1, 1, 1, 2), labels


def numbers(images: Tensor) -> list[int]:
    return [256 * a + b for a, b in images.flatten(1).tolist()]


@pytest.mark.parametrize(
    ("counts", "share", "tested"),
    [
        ((200, 2), 0.2, [40, 1]),
        ((3,) * 30, 0.2, [1] * 30),
        ((10, 10, 10), 0.2, [2, 2, 2]),
        ((2, 2), 0.2, [1, 1]),
        ((2, 9), 0.9, [1, 8]),
        ((5, 6, 7, 13), 0.2, [1, 1, 1, 3]),
        ((13, 8, 4), 0.2, [3, 2, 1]),
        ((4, 1000), 0.01, [1, 10]),
        ((2, 3, 700), 0.5, [1, 2, 350]),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_each_class_has_its_share_of_test_images(
    counts: tuple[int, ...], share: float, tested: list[int], seed: int
) -> None:
    images, labels = mixed(*counts)
    train, test = stratified(images, labels, share, seed, [str(c) for c in range(len(counts))])
    assert test[1].bincount().tolist() == tested
    assert train[1].bincount().tolist() == [n - t for n, t in zip(counts, tested, strict=True)]
    assert sorted(numbers(train[0]) + numbers(test[0])) == list(range(len(labels)))  # each image once
    for part in (train, test):
        assert torch.equal(labels[numbers(part[0])], part[1])
    again = stratified(images, labels, share, seed, [str(c) for c in range(len(counts))])
    assert torch.equal(again[1][0], test[0])


def test_the_seed_draws_the_split() -> None:
    images, labels = mixed(30, 4)
    drawn = {tuple(numbers(stratified(images, labels, 0.2, seed, "ab")[1][0])) for seed in range(5)}
    assert len(drawn) == 5


@pytest.mark.parametrize(("counts", "tolerance"), [((20, 20, 20), 0), ((5, 6, 7), 1), ((178, 182, 177), 1)])
def test_splits_of_earlier_versions_stay_where_they_were_right(
    counts: tuple[int, ...], tolerance: int
) -> None:
    images, labels = mixed(*counts)
    split = stratified(images, labels, 0.2, 3, "abc", tolerance=tolerance)
    train, test = train_test_split(
        torch.arange(len(labels)).numpy(), test_size=0.2, stratify=labels.numpy(), random_state=3
    )
    assert (numbers(split[0][0]), numbers(split[1][0])) == (train.tolist(), test.tolist())


def test_a_class_of_one_image_is_named() -> None:
    with pytest.raises(ConfigError, match="class 'b' has one image, which cannot be trained on and tested"):
        stratified(*mixed(5, 1, 7), 0.2, 0, "abc")


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5])
def test_the_share_is_a_fraction(share: float) -> None:
    with pytest.raises(ConfigError, match="must be between 0 and 1"):
        stratified(*mixed(5, 5), share, 0, "ab")


@pytest.mark.parametrize(
    ("counts", "tested"), [((200, 2), [20, 1]), ((3,) * 30, [1] * 30), ((100, 50), [10, 5])]
)
def test_holdout_has_images_of_every_class(counts: tuple[int, ...], tested: list[int]) -> None:
    split = mixed(*counts)
    classes = [str(c) for c in range(len(counts))]
    source = DataSource(lambda download: (split, split), classes, (1, 1, 2), holdout=0.1)
    (train, test), *_ = source.read(download=False)
    assert test[1].bincount().tolist() == tested
    assert not set(numbers(train[0])) & set(numbers(test[0]))


def test_holdout_names_a_class_of_one_image() -> None:
    split = mixed(4, 1)
    source = DataSource(lambda download: (split, split), ["cat", "dog"], (1, 1, 2), holdout=0.1)
    with pytest.raises(ConfigError, match=r"holdout=0\.1: class 'dog' has one image"):
        source.read(download=False)


def test_statistics_of_many_images() -> None:
    images = torch.zeros(10_000, 2, 1, 1, dtype=torch.uint8)  # more than one part of the sum
    images[:2500, 0] = 255
    images[:, 1] = 51
    assert channel_statistics(images) == ((0.25, 0.2), (0.433, 0.0))


def test_the_seed_draws_the_split_where_scikit_learns_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = torch.arange(33)
    monkeypatch.setattr(splits, "_scikit_split", lambda *_: (everything, everything[:0]))
    images, labels = mixed(30, 3)
    drawn = [numbers(stratified(images, labels, 0.2, seed, "ab")[1][0]) for seed in (0, 1, 2, 2)]
    assert drawn[2] == drawn[3]
    assert len({tuple(each) for each in drawn}) == 3


@pytest.mark.parametrize(("pages", "fits"), [(1500, True), (1499, False)])
def test_images_and_a_copy_of_them_must_fit_the_memory(
    pages: int, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1000 images of 3x32x32 are 3,072,000 bytes, 750 pages of 4096."""
    memory = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": pages}
    monkeypatch.setattr(splits.os, "sysconf", memory.__getitem__)
    if fits:
        splits.check_memory(1000, 3, 32, 32)
        return
    with pytest.raises(
        ConfigError, match=r"1000 images of \(3, 32, 32\) need 0.0 GiB, .* use smaller images"
    ):
        splits.check_memory(1000, 3, 32, 32)
