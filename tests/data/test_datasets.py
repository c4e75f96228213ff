"""Miniature files in each dataset's own format, read by the real loaders."""

import importlib
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from gmlight.builders.data import build_data
from gmlight.config.compose import name_classes
from gmlight.data.datamodule import CondensationData
from gmlight.errors import ConfigError
from helpers.runs import composed

CPU = torch.device("cpu")


def loaded(*overrides: str) -> CondensationData:
    config = composed(*overrides, "download=false")
    name_classes(config)
    return build_data(config).load(CPU)


def write_picture(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (40, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three unbalanced classes, with other sizes and another mode than requested."""
    counts = {"cat": 5, "dog": 3, "eel": 4}
    for part in ("train", "test"):
        for c, (name, count) in enumerate(counts.items()):
            for i in range(count):
                write_picture(
                    tmp_path / "own" / part / name / f"{i}.png", (60 * c, 10 * i, 200), (20 + i, 50)
                )
    Image.new("L", (9, 9), 100).save(tmp_path / "own" / "train" / "cat" / "grey.bmp")
    return tmp_path / "own"


def own(folder: Path, *overrides: str) -> CondensationData:
    return loaded("dataset=image_folder", f"dataset.root={folder}", "dataset.size=[16,24]", *overrides)


def test_image_folder_with_train_and_test(folder: Path) -> None:
    data = own(folder)
    assert data.classes == ("cat", "dog", "eel")
    assert data.train.counts == [6, 3, 4]
    assert data.test.counts == [5, 3, 4]
    assert data.train.images.shape == (13, 3, 16, 24)
    assert data.train.images[6, :, 0, 0].tolist() == [60, 0, 200]  # the first dog
    assert data.train.images[5, :, 3, 3].tolist() == [100, 100, 100]  # the grey cat


def test_missing_statistics_are_computed(folder: Path) -> None:
    data = own(folder)
    pixels = data.train.images.double() / 255
    assert data.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=1e-4)
    assert data.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist(), abs=1e-4)
    given = own(folder, "dataset.mean=[0.1,0.2,0.3]", "dataset.std=[1,2,3]")
    assert (given.mean, given.std) == ([0.1, 0.2, 0.3], [1, 2, 3])


def test_class_smaller_than_the_real_batch_gives_all_its_images(folder: Path) -> None:
    batch = own(folder, "real_batch=4").draw(0, 0)
    assert [len(of_class) for of_class in batch.images[:]] == [4, 3, 4]


def test_image_folder_in_grey(folder: Path) -> None:
    assert own(folder, "dataset.channels=1").train.images.shape == (13, 1, 16, 24)


def test_image_folder_without_test_part_is_split_the_same_each_time(folder: Path) -> None:
    data = own(folder / "train", "dataset.load.test_share=0.34")
    assert [a + b for a, b in zip(data.train.counts, data.test.counts, strict=True)] == [6, 3, 4]
    assert min(data.test.counts) >= 1
    again = own(folder / "train", "dataset.load.test_share=0.34")
    assert torch.equal(data.test.images, again.test.images)


def test_image_folder_is_condensed_and_may_move(
    folder: Path,
    run: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (folder / "train" / "cat" / "Thumbs.db").touch()
    made = run("dataset=image_folder", f"dataset.root={folder}", "ipc=1")
    assert (made / "condensed" / "grid.png").is_file()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines].index(["cat", "6", "5"]) < 5  # before anything long
    passed_over = "passed over: 1 hidden or system entries: train/cat/Thumbs.db"
    assert passed_over in lines[:8]
    assert passed_over in (made / "report.html").read_text()
    moved = folder.rename(folder.with_name("elsewhere"))
    words = [f"run={made}", f"dataset.root={moved}", "evaluation.networks=1"]
    monkeypatch.setattr("sys.argv", ["gmlight.evaluate", *words])
    importlib.import_module("gmlight.evaluate").main()
    assert len(list(made.glob("evaluations/*/result.json"))) == 1


def test_batch_norm_needs_images_for_its_statistics(folder: Path) -> None:
    config = composed("dataset=image_folder", f"dataset.root={folder}", "statistics_batch=4")
    name_classes(config)
    with pytest.raises(ConfigError, match="class 'dog' has only 3 images for the statistics of batch norm"):
        build_data(config, statistics=True).load(CPU)


def test_missing_image_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"name the folder of your images by dataset.root="):
        loaded("dataset=image_folder")
    with pytest.raises(ConfigError, match="nowhere: no such folder"):
        own(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="0 class folders there"):
        own(tmp_path)


def test_more_images_than_memory_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sysconf", lambda name: 100 if name == "SC_PAGE_SIZE" else 10)
    with pytest.raises(ConfigError, match=r"need .* GiB, this machine has"):
        own(folder)


@pytest.mark.parametrize(
    ("name", "classes", "key"), [("cifar10", 10, "labels"), ("cifar100", 100, "fine_labels")]
)
def test_cifar(name: str, classes: int, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = getattr(torchvision.datasets, name.upper())
    monkeypatch.setattr(dataset, "_check_integrity", lambda self: True)  # of the full files
    monkeypatch.setattr(dataset, "_load_meta", lambda self: None)
    top = tmp_path / dataset.base_folder
    top.mkdir()
    rng = np.random.default_rng(0)
    written = {}
    for filename, _ in dataset.train_list + dataset.test_list:
        written[filename] = rng.integers(0, 256, (classes, 3, 32, 32), dtype=np.uint8)
        content = {"data": written[filename].reshape(classes, -1), key: list(range(classes))}
        (top / filename).write_bytes(pickle.dumps(content))
    data = loaded(f"dataset={name}", f"data_dir={tmp_path}")
    assert data.train.counts == [len(dataset.train_list)] * classes
    assert data.test.counts == [1] * classes
    first = written[dataset.train_list[0][0]]
    assert np.array_equal(data.train.images[0].numpy(), first[0])
    names = data.classes[7], data.classes[2]
    chosen = loaded(f"dataset={name}", f"data_dir={tmp_path}", f"dataset.classes=[{','.join(names)}]")
    assert chosen.test.counts == [1, 1]
    last = written[dataset.test_list[0][0]]
    assert np.array_equal(chosen.test.images.numpy()[chosen.test.labels.argsort()], last[[7, 2]])


def test_chosen_classes_of_digits_keep_their_images_and_split() -> None:
    everything, chosen = loaded("dataset=digits"), loaded("dataset=digits", "dataset.classes=[5,3,8]")
    assert chosen.classes == ("5", "3", "8")
    for part in ("train", "test"):
        whole, kept = getattr(everything, part), getattr(chosen, part)
        for label, digit in enumerate((5, 3, 8)):
            assert torch.equal(kept.images[kept.labels == label], whole.images[whole.labels == digit])
        assert len(kept.images) == sum(whole.counts[digit] for digit in (5, 3, 8))


def test_numbers_of_classes_without_names_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"dataset.load.names: 2 names, but the files have a class 9"):
        loaded("dataset=digits", "dataset.load.names=[a,b]", "dataset.classes=[b,a]")
