"""Soft labels in a condensed set: written, read back, checked, and absent where there are none."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gmlight import CondensedDataset
from gmlight.artifacts import condensed_set, export_formats
from gmlight.artifacts.accuracy_log import AccuracyLog
from gmlight.artifacts.set_files import METADATA
from gmlight.condensation.initialization import condensed as artifact
from gmlight.data.images import LabelledImages
from gmlight.errors import ConfigError
from helpers.problems import named_classes, real_images
from helpers.strangers import change_tensors, set_value

IMAGES = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 0, 1, 1, 2, 2])
SOFT = torch.rand(6, 3, generator=torch.Generator().manual_seed(1)).softmax(1)
INFO = named_classes("a", "b", "c")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "condensed"
    condensed_set.write(path, LabelledImages(IMAGES, LABELS, soft_labels=SOFT), INFO, {"seed": 7})
    return path


def test_they_are_read_back(folder: Path) -> None:
    dataset = CondensedDataset(folder)
    assert dataset.soft_labels is not None
    assert torch.equal(dataset.soft_labels, SOFT)
    assert torch.equal(dataset.labelled().targets, SOFT)
    assert dataset[1][1] == 0
    assert dataset.floats == dataset.labelled().floats == IMAGES.numel() + 18
    assert dataset.metadata["storage"] == {"floats": 402, "bytes": 1608}
    assert "with soft labels" in repr(dataset)
    few = CondensedDataset(folder, ipc=1)
    assert few.soft_labels is not None
    assert torch.equal(few.soft_labels, SOFT[::2])
    assert few.floats == 3 * 64 + 9


def test_only_a_set_with_soft_labels_is_refused_by_older_versions(folder: Path, tmp_path: Path) -> None:
    condensed_set.write(tmp_path / "hard", LabelledImages(IMAGES, LABELS), INFO, {})
    versions = [
        json.loads((path / METADATA).read_text())["schema_version"] for path in (folder, tmp_path / "hard")
    ]
    assert versions == [4, 3]
    hard = CondensedDataset(tmp_path / "hard")
    assert hard.soft_labels is None
    assert hard.labelled().soft_labels is None
    assert "soft_labels" not in hard.metadata
    condensed_set.update_metadata(folder, seed=8)
    assert CondensedDataset(folder).metadata["schema_version"] == 4


@pytest.mark.parametrize(
    ("soft", "message"),
    [
        (SOFT[:5], r"soft_labels: must be \[6, 3\]"),
        (SOFT[:, :2], r"soft_labels: must be \[6, 3\]"),
        (SOFT.double(), "soft_labels: must be torch.float32"),
        (SOFT[:, 0], "soft_labels: must have 2 dimensions"),
        (SOFT * 1.01, "soft_labels: must be probabilities"),
        (SOFT * torch.nan, "soft_labels: must be finite"),
        (torch.tensor([[1.5, -0.5, 0.0]]).repeat(6, 1), "soft_labels: must be probabilities"),
        (None, "tensors: are images, labels; must be images, labels, soft_labels"),
    ],
    ids=str,
)
def test_other_values_are_refused(folder: Path, soft: Tensor | None, message: str) -> None:
    def change(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        kept = {name: tensor for name, tensor in tensors.items() if name != "soft_labels"}
        return kept if soft is None else kept | {"soft_labels": soft}

    change_tensors(folder, change)
    with pytest.raises(ConfigError, match=message):
        CondensedDataset(folder)


def test_the_metadata_say_whether_there_are_any(folder: Path) -> None:
    set_value(folder, "soft_labels", "yes")
    with pytest.raises(ConfigError, match="soft_labels: must be true or false"):
        CondensedDataset(folder)
    set_value(folder, "soft_labels", False)
    with pytest.raises(ConfigError, match="tensors: are images, labels, soft_labels"):
        CondensedDataset(folder)


def test_lossless_exports_have_them(folder: Path, tmp_path: Path) -> None:
    dataset = CondensedDataset(folder)
    export_formats.npz(tmp_path, dataset)
    export_formats.pt(tmp_path, dataset)
    arrays = np.load(tmp_path / "condensed.npz", allow_pickle=False)
    content = torch.load(tmp_path / "condensed.pt", weights_only=True)
    assert torch.equal(torch.from_numpy(arrays["soft_labels"]), SOFT)
    assert torch.equal(content["soft_labels"], SOFT)


def test_a_logged_accuracy_is_that_of_its_soft_labels(tmp_path: Path) -> None:
    log = AccuracyLog(tmp_path / "log", {})
    log.accuracies("condensed", LabelledImages(IMAGES, LABELS), "mlp")[0] = 50.0
    assert log.accuracies("condensed", LabelledImages(IMAGES, LABELS), "mlp") == {0: 50.0}
    assert log.accuracies("condensed", LabelledImages(IMAGES, LABELS, soft_labels=SOFT), "mlp") == {}


def test_condensing_does_not_start_from_them(folder: Path) -> None:
    train = real_images(torch.zeros(6, 1, 8, 8).byte(), LABELS, mean=INFO.mean, std=INFO.std)
    with pytest.raises(ConfigError, match="has soft labels, which condensing would lose"):
        artifact(train, 2, torch.Generator(), path=str(folder))


def test_lossy_formats_return_the_soft_labels_that_their_files_hold(folder: Path, tmp_path: Path) -> None:
    """What an export is said to cost in accuracy must not be the loss of labels that are still there."""
    dataset = CondensedDataset(folder)
    small = export_formats.numpy_file(tmp_path, dataset, bits=8)
    assert small is not None
    assert small.soft_labels is not None
    assert np.array_equal(np.load(tmp_path / "condensed.npz")["soft_labels"], small.soft_labels.numpy())
    (tmp_path / "png").mkdir()
    assert export_formats.png(tmp_path / "png", dataset).soft_labels is None
