"""Real images: splits, draws, and error messages for missing data."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from scipy.io import savemat

from gmlight.builders.data import build_data
from gmlight.data.datamodule import BatchSizes, CondensationData
from gmlight.data.datasets import digits
from gmlight.data.images import RealImages
from gmlight.data.source import DataSource
from gmlight.data.splits import Splits
from gmlight.errors import ConfigError
from helpers.problems import real_images
from helpers.runs import composed

CPU = torch.device("cpu")


def numbered(counts: list[int]) -> RealImages:
    """Images filled with their index, with classes in mixed order."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    images = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    return real_images(images[order], labels[order], mean=[0.0], std=[1 / 255])


def test_digits_split_is_fixed_and_stratified() -> None:
    (train, train_labels), (test, test_labels) = digits("", False, test_share=0.2, split_seed=0)
    assert train.shape == (1437, 1, 8, 8)
    assert test.shape == (360, 1, 8, 8)
    assert train.dtype == torch.uint8
    assert train.max() == 255
    share = test_labels.bincount() / (test_labels.bincount() + train_labels.bincount())
    assert ((share - 0.2).abs() < 0.01).all()
    assert torch.equal(digits("", False, test_share=0.2, split_seed=0)[0][0], train)


def test_statistics_of_the_digits() -> None:
    (train, _), _ = digits("", False, test_share=0.2, split_seed=0)
    dataset = composed().dataset
    assert dataset.mean[0] == pytest.approx((train / 255).mean().item(), abs=1e-4)
    assert dataset.std[0] == pytest.approx((train / 255).std().item(), abs=1e-4)


def test_normalised_when_drawn() -> None:
    images = torch.tensor([[[[0, 255]], [[51, 102]]]], dtype=torch.uint8)  # one image, two channels
    split = real_images(images, torch.tensor([0]), mean=[0.5, 0.2], std=[0.5, 0.1])
    drawn, labels = split.batch(torch.tensor([0]))
    torch.testing.assert_close(drawn, torch.tensor([[[[-1.0, 1.0]], [[0.0, 2.0]]]]))
    assert labels.tolist() == [0]


def test_batches_per_class() -> None:
    counts = [30, 20, 25]
    split = numbered(counts)
    drawn = split.draw_per_class(10, torch.Generator().manual_seed(1))
    assert isinstance(drawn, torch.Tensor)
    assert drawn.shape == (3, 10, 1, 2, 2)
    first = 0
    for of_class, count in zip(drawn, counts, strict=True):
        numbers = of_class[:, 0, 0, 0].round().int().tolist()
        assert len(set(numbers)) == 10  # without replacement
        assert all(first <= number < first + count for number in numbers)
        first += count


def test_small_class_gives_all_its_images() -> None:
    drawn = numbered([30, 4, 12]).draw_per_class(12, torch.Generator().manual_seed(1))
    assert [len(of_class) for of_class in drawn] == [12, 4, 12]
    assert sorted(drawn[1][:, 0, 0, 0].round().int().tolist()) == [30, 31, 32, 33]


def test_draw_depends_on_seed_k_and_t_alone() -> None:
    config = composed("mixed_batch=7")
    data = build_data(config, statistics=True).load(CPU)
    first = data.draw(2, 3)
    data.draw(0, 0)
    again = data.draw(2, 3)
    assert first.mixed is not None
    assert again.mixed is not None
    assert first.statistics is not None
    assert again.statistics is not None
    assert torch.equal(torch.cat(tuple(first.images[:])), torch.cat(tuple(again.images[:])))
    assert torch.equal(first.mixed[0], again.mixed[0])
    assert torch.equal(first.statistics, again.statistics)
    assert len(first.mixed[1]) == 7
    assert len(first.statistics) == 160
    assert not torch.equal(torch.cat(tuple(first.images[:])), torch.cat(tuple(data.draw(2, 4).images[:])))


def test_each_purpose_has_its_own_draw_at_every_update() -> None:
    """Mixed and matched batches of one size differ from each other, and from those of every other update."""
    data = build_data(composed("mixed_batch=9", "matching=inter", "matching.mixed_real=9")).load(CPU)
    drawn = []
    for k, t in ((0, 0), (0, 1), (1, 0), (1, 1)):
        batch = data.draw(k, t)
        assert (batch.k, batch.t, len(batch.images)) == (k, t, 0)
        drawn += [batch.mixed, batch.matched]
    assert len({pair[0].numpy().tobytes() for pair in drawn if pair is not None}) == 8


@pytest.mark.parametrize(("rule", "at"), [("inter", [0, 1, 2, 3]), ("interleaved", [1, 3])])
def test_mixed_batches_replace_the_class_batches_of_the_inter_term(rule: str, at: list[int]) -> None:
    data = build_data(composed(f"matching={rule}", "matching.mixed_real=32")).load(CPU)
    drawn = [data.draw(k, 0).matched for k in range(4)]
    assert [k for k in range(4) if drawn[k] is not None] == at
    assert all(len(batch[1]) == 32 for batch in drawn if batch is not None)
    assert all(
        data.draw(k, 0).matched is None for data in [build_data(composed()).load(CPU)] for k in range(2)
    )


def test_holdout_replaces_the_test_split() -> None:
    whole, held = (build_data(composed(f"holdout={share}")).load(CPU) for share in (0, 0.1))
    assert sum(held.train.counts) + sum(held.test.counts) == sum(whole.train.counts)
    for all_of_class, of_class in zip(whole.train.counts, held.test.counts, strict=True):
        assert abs(of_class - 0.1 * all_of_class) < 1
    train, test, unseen = (
        {image.numpy().tobytes() for image in split.images} for split in (held.train, held.test, whole.test)
    )
    assert not train & test
    assert not test & unseen
    assert (held.mean, held.std) == (whole.mean, whole.std)


def made_up(images: torch.Tensor, labels: list[int]) -> CondensationData:
    split = (images, torch.tensor(labels))
    source = DataSource(lambda download: (split, split), ["a", "b", "c"], (1, 2, 2), mean=[0.0], std=[1.0])
    return CondensationData(source)


@pytest.mark.parametrize(
    ("shape", "labels", "message"),
    [
        ((2, 1, 2, 2), [0, 2], "class 'b' has no training image"),
        ((3, 1, 2, 2), [0, 1, 3], "a label is 3"),
        ((3, 1, 4, 2), [0, 1, 2], r"\(1, 4, 2\).*\(1, 2, 2\)"),
        ((3, 3, 2, 2), [0, 1, 2], r"\(3, 2, 2\).*\(1, 2, 2\)"),
    ],
    ids=["empty class", "unknown label", "other size", "other channels"],
)
def test_images_that_do_not_fit_the_dataset_are_refused(
    shape: tuple[int, ...], labels: list[int], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        made_up(torch.zeros(shape, dtype=torch.uint8), labels).load(CPU)


def write_mnist(root: Path, rng: np.random.Generator, name: str = "MNIST") -> dict[str, np.ndarray]:
    raw = root / name / "raw"
    raw.mkdir(parents=True)
    written = {}
    for prefix, count in (("train", 40), ("t10k", 20)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(
            struct.pack(">4i", 2051, count, 28, 28) + images.tobytes()
        )
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, count) + labels.tobytes())
        written[prefix] = images
    return written


def write_svhn(root: Path, rng: np.random.Generator) -> dict[str, np.ndarray]:
    written = {}
    for split, count in (("train", 40), ("test", 20)):
        images = rng.integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
        labels = (np.arange(count) % 10 + 1).astype(np.uint8)[:, None]  # the file calls zero 10
        savemat(root / f"{split}_32x32.mat", {"X": images, "y": labels})
        written[split] = images
    return written


def loaded(name: str, root: Path) -> CondensationData:
    return build_data(composed(f"dataset={name}", f"data_dir={root}", "download=false")).load(CPU)


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_mnist_in_its_own_format(name: str, folder: str, tmp_path: Path) -> None:
    written = write_mnist(tmp_path, np.random.default_rng(0), folder)
    data = loaded(name, tmp_path)
    assert data.train.counts == [4] * 10
    assert data.train.images.shape == (40, 1, 28, 28)
    assert np.array_equal(data.train.images[0, 0].numpy(), written["train"][0])
    assert np.array_equal(data.test.images[2, 0].numpy(), written["t10k"][1])  # two of each class


def test_svhn_in_its_own_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write_svhn(tmp_path, np.random.default_rng(0))
    monkeypatch.setattr(torchvision.datasets.SVHN, "_check_integrity", lambda self: True)  # of the full files
    data = loaded("svhn", tmp_path)
    assert data.train.counts == [4] * 10
    assert np.array_equal(data.train.images[0].numpy(), written["train"][:, :, :, 9].transpose(2, 0, 1))
    assert data.train.labels[0] == 0


@pytest.mark.parametrize("name", ["mnist", "svhn"])
def test_missing_dataset_error_names_the_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"absent or incomplete: looked for {tmp_path}/.*set data_dir"):
        loaded(name, tmp_path)


def test_failed_download_raises_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **keywords: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.datasets.svhn.download_url", unreachable)
    data = build_data(composed("dataset=svhn", f"data_dir={tmp_path}"))
    with pytest.raises(
        ConfigError, match=r"absent and cannot be downloaded \(no route to host\).*set data_dir"
    ):
        data.prepare_data()


@pytest.mark.parametrize("content", [b"", b"\0\0\x08\x03", struct.pack(">4i", 2051, 40, 28, 28) + b"short"])
def test_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    write_mnist(tmp_path, np.random.default_rng(0))
    (tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(ConfigError, match=r"MNIST is damaged .*: delete .*fetch it again"):
        loaded("mnist", tmp_path)


def test_loader_starts_where_the_trainer_is(run: Callable[..., Path]) -> None:
    data = build_data(composed("scale=smoke", "ipc=3")).load(CPU)

    class Trainer:
        global_step, max_steps = 4, 6

    data.trainer = Trainer()  # type: ignore[assignment]
    assert [(batch.k, batch.t) for batch in data.train_dataloader()] == [(1, 1), (1, 2)]


def test_images_in_memory_need_three_lines() -> None:
    images, labels = torch.randint(256, (50, 1, 8, 8), dtype=torch.uint8), torch.arange(50) % 5
    data = CondensationData(DataSource.from_tensors((images, labels)), updates=10).load(CPU)
    assert data.info.classes == data.classes == tuple("01234")
    assert (data.train.counts, data.test.counts) == ([8] * 5, [2] * 5)  # a stratified fifth is held out
    assert data.info.priors == (0.2,) * 5
    assert data.info.mean == pytest.approx([(images / 255).mean().item()], abs=1e-4)
    assert (data.batches.real, data.batches.mixed) == (256, 0)
    given = DataSource.from_tensors((images, labels), (images[:5], labels[:5]), classes=list("abcde"))
    assert (len(CondensationData(given).load(CPU).test), given.classes) == (5, list("abcde"))


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(4, 8, 8, dtype=torch.uint8), [0, 1, 0, 1], r"\(4, 8, 8\), they must be \[N, channels"),
        (torch.zeros(4, 1, 8, 8), [0, 1, 0, 1], "float32, they must be torch.uint8"),
        (torch.zeros(4, 1, 8, 8, dtype=torch.uint8), [0, 1, 0], "4 images and 3 labels"),
        (torch.zeros(4, 1, 8, 8, dtype=torch.uint8), [0, 1, 0, -1], "a label is -1"),
        (
            torch.arange(256, dtype=torch.uint8).view(4, 1, 8, 8),
            [0, 2, 0, 2],
            "class '1' has no training image",
        ),
    ],
    ids=["dimensions", "type", "number", "label", "class"],
)
def test_tensors_that_are_no_dataset_are_refused(
    images: torch.Tensor, labels: list[int], message: str
) -> None:
    pair = images, torch.tensor(labels)
    with pytest.raises(ConfigError, match=message):
        CondensationData(DataSource.from_tensors(pair, pair, None)).load(CPU)


def test_files_are_downloaded_by_prepare_data_alone_and_read_once() -> None:
    split = torch.randint(256, (6, 1, 2, 2), dtype=torch.uint8), torch.arange(6) % 3
    calls: list[bool] = []

    def load(download: bool) -> Splits:
        calls.append(download)
        return split, split

    def data(download: bool = True) -> CondensationData:
        return CondensationData(DataSource(load, list("abc"), (1, 2, 2), download=download))

    first = data()
    first.prepare_data()
    first.load(CPU)
    first.prepare_data()  # as Lightning calls it again
    first.setup("fit")
    assert calls == [True]
    data().load(CPU)  # in another process
    forbidden = data(download=False)
    forbidden.prepare_data()
    forbidden.load(CPU)
    assert calls == [True, False, False]


def test_the_matching_rule_decides_when_mixed_batches_are_drawn() -> None:
    split = torch.randint(256, (60, 1, 2, 2), dtype=torch.uint8), torch.arange(60) % 3
    source = DataSource(lambda download: (split, split), list("abc"), (1, 2, 2))
    data = CondensationData(source, BatchSizes(real=4, matched=5), needs_mixed_batches=lambda k: k > 1)
    data.load(CPU)
    assert [data.draw(k, 0).matched is not None for k in range(4)] == [False, False, True, True]
