"""The condensed set on disk."""

import errno
import json
import random
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from gmlight import CondensedDataset
from gmlight.artifacts import condensed_set
from gmlight.condensation.synthetic import MultiFormation, SharedComponents
from gmlight.data.images import LabelledImages
from gmlight.errors import ConfigError
from helpers.problems import named_classes

IMAGES = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 0, 1, 1, 2, 2])
INFO = named_classes("a", "b", "c")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "condensed"
    condensed_set.write(path, LabelledImages(IMAGES, LABELS), INFO, {"seed": 7})
    return path


def test_written_set_is_read_back(folder: Path) -> None:
    for path in (folder, folder.parent, str(folder)):
        dataset = CondensedDataset(path)
        assert torch.equal(dataset.images, IMAGES)
        assert torch.equal(dataset.labels, LABELS)
        assert dataset.images.dtype == torch.float32
        assert (dataset.classes, dataset.mean, dataset.std) == (["a", "b", "c"], [0.5], [0.25])
        assert dataset.metadata["seed"] == 7
    assert (folder / "grid.png").stat().st_size > 0


def test_a_full_disk_leaves_nothing_of_a_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(condensed_set, "save_grid", full)
    with pytest.raises(OSError, match="No space left"):
        condensed_set.write(tmp_path / "condensed", LabelledImages(IMAGES, LABELS), INFO, {})
    assert list(tmp_path.iterdir()) == []


def test_behaves_like_a_torchvision_dataset(folder: Path) -> None:
    dataset = CondensedDataset(
        folder, transform=lambda image: image + 1, target_transform=lambda label: -label
    )
    image, label = dataset[3]
    assert torch.equal(image, IMAGES[3] + 1)
    assert label == -1
    assert len(dataset) == 6
    images, labels = next(iter(DataLoader(CondensedDataset(folder), batch_size=4)))
    assert torch.equal(images, IMAGES[:4])
    assert torch.equal(labels, LABELS[:4])


def test_the_first_images_of_each_class(folder: Path, tmp_path: Path) -> None:
    """Of images in any order, and of stored images that are decoded to four each."""
    few = CondensedDataset(folder, ipc=1)
    assert torch.equal(few.images, IMAGES[::2])
    assert (few.targets, few.floats, len(few)) == ([0, 1, 2], 3 * 64, 3)
    assert few.class_to_idx == {"a": 0, "b": 1, "c": 2}
    assert torch.equal(CondensedDataset(folder, ipc=2).images, IMAGES)
    order = torch.tensor([2, 0, 0, 1, 2, 1, 0])
    images = torch.arange(7.0).view(7, 1, 1, 1).expand(-1, 1, 2, 2)
    condensed_set.write(tmp_path / "mixed", LabelledImages(images, order), INFO, {})
    mixed = CondensedDataset(tmp_path / "mixed", ipc=1)
    assert (mixed.images[:, 0, 0, 0].tolist(), mixed.targets) == ([0, 1, 3], [2, 0, 1])

    stored = MultiFormation(IMAGES.unflatten(0, (3, 2)), 2)
    condensed_set.write(tmp_path / "formed", stored.labelled(), INFO, {}, stored=stored.stored())
    formed = CondensedDataset(tmp_path / "formed", ipc=1)
    assert torch.equal(formed.images, MultiFormation(IMAGES.unflatten(0, (3, 2))[:, :1], 2)().flatten(0, 1))
    assert (formed.targets, formed.floats) == ([0] * 4 + [1] * 4 + [2] * 4, 3 * 64)


@pytest.mark.parametrize("ipc", [0, 3, -1])
def test_more_images_than_a_class_has_are_refused(ipc: int, folder: Path) -> None:
    with pytest.raises(ConfigError, match=rf"ipc={ipc}: must be from 1 to 2, the set's images per class$"):
        CondensedDataset(folder, ipc=ipc)


def test_images_that_share_components_have_no_first_ones(tmp_path: Path) -> None:
    shared = SharedComponents(IMAGES.unflatten(0, (3, 2)), torch.ones(3, 4, 2), [0.5], [0.25])
    condensed_set.write(tmp_path / "set", shared.labelled(), INFO, {}, stored=shared.stored())
    with pytest.raises(ConfigError, match="share components"):
        CondensedDataset(tmp_path / "set", ipc=1)


def test_flipped_bit_is_refused(folder: Path) -> None:
    path = folder / "condensed.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="wrong hash"):
        CondensedDataset(folder)


def test_newer_schema_is_refused(folder: Path) -> None:
    path = folder / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 99}))
    with pytest.raises(ConfigError, match=r"schema version 99 is newer.*upgrade gmlight"):
        CondensedDataset(folder)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"schema_version": 1}', '{"schema_version": "x"}'])
def test_broken_metadata_is_refused(folder: Path, content: str) -> None:
    (folder / "metadata.json").write_text(content)
    with pytest.raises(ConfigError, match="metadata"):
        CondensedDataset(folder)


def test_missing_sets_and_tensors_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no condensed set there"):
        CondensedDataset(folder.parent.parent)
    (folder / "condensed.safetensors").unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        CondensedDataset(folder)


def test_metadata_is_added_and_nothing_is_overwritten(folder: Path) -> None:
    accuracy = {"values": [49.0, 51.0], "mean": 50.0, "std": 1.0, "n": 2, "epochs": 3, "protocol": "plain"}
    row = {"name": "condensed", "images": 6, "architecture": "convnet", "accuracy": accuracy}
    condensed_set.update_metadata(folder, evaluations=[row])
    assert CondensedDataset(folder).metadata["evaluations"] == [row]
    assert CondensedDataset(folder).evaluations["convnet"].mean == 50
    with pytest.raises(OSError, match="not empty"):
        condensed_set.write(folder, LabelledImages(IMAGES + 1, LABELS), INFO, {})
    assert torch.equal(CondensedDataset(folder).images, IMAGES)


@pytest.mark.parametrize("name", ["condensed.safetensors", "metadata.json"])
def test_no_damage_is_loaded_silently(folder: Path, name: str) -> None:
    """Truncated at every 4 KiB and with 200 single flipped bits: refused in one line, or read unchanged."""
    images = torch.randn(30, 3, 16, 16)
    colours = named_classes("a", "b", "c", mean=[0.5] * 3, std=[0.25] * 3)
    learned = LabelledImages(images, torch.arange(30) // 10)
    condensed_set.write(folder, learned, colours, {"note": "x" * 10000}, replace=True)
    whole, expected = (folder / name).read_bytes(), CondensedDataset(folder)
    damaged = [whole[:length] for length in range(0, len(whole), 4096)]
    assert len(damaged) > 2
    for bit in random.Random(0).sample(range(8 * len(whole)), 200):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(flipped))
    refused = 0
    for content in damaged:
        (folder / name).write_bytes(content)
        try:
            loaded = CondensedDataset(folder)
        except ConfigError:
            refused += 1
        else:
            assert loaded.metadata == expected.metadata
            assert torch.equal(loaded.images, images)
    assert refused > 0.95 * len(damaged)


def test_malicious_pickle_is_refused(folder: Path) -> None:
    torch.save({"images": IMAGES, "labels": LABELS}, folder / "condensed.safetensors")
    with pytest.raises(ConfigError, match="wrong hash"):
        CondensedDataset(folder)


def test_pictures_round_to_the_nearest_of_256_steps(tmp_path: Path) -> None:
    """Pixels of 0.9 and 1.6 steps, below 0 and above 1; mean 0.5, std 0.25."""
    pixels = torch.tensor([0.9 / 255, 1.6 / 255, -0.3, 1.7]).view(1, 1, 1, 4)
    images = LabelledImages((pixels.repeat(2, 1, 1, 1) - 0.5) / 0.25, torch.tensor([0, 1]))
    condensed_set.write(tmp_path / "set", images, named_classes("a", "b"), {})
    picture = CondensedDataset(tmp_path / "set").to_pil(1)
    assert [picture.getpixel((x, 0)) for x in range(4)] == [1, 2, 0, 255]
