"""Datasets of Hugging Face, from local folders: parquet, images by class, save_to_disk."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from gmlight.artifacts.condensed_set import CondensedDataset
from gmlight.data.huggingface import huggingface, huggingface_classes
from gmlight.errors import ConfigError
from helpers.runs import TINY, Run, refusal

datasets = pytest.importorskip("datasets", reason="needs the extra hf")
write_table = pytest.importorskip("pyarrow.parquet").write_table

PLACE: dict[str, str | None] = dict.fromkeys(("subset", "revision", "image", "label", "train", "test"))
FORM: dict[str, Any] = {"size": (4, 5), "channels": 3, "fit": "squash", "background": "white"}
FORM |= {"test_share": 0.25, "split_seed": 0}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def picture(label: int, number: int) -> Image.Image:
    return Image.new("RGB", (5, 4), (40 * label, number, 200 - number))


def table(rows: int, *, feature: Any = None, **more: Any) -> Any:
    """Makes a dataset whose red channel shows the class and whose green one the row."""
    labels = [row % 3 for row in range(rows)]
    pictures = [picture(label, row) for row, label in enumerate(labels)]
    columns = {"image": pictures, "label": labels, **{name: [value] * rows for name, value in more.items()}}
    features = datasets.Features(
        {"image": datasets.Image(), "label": feature or datasets.ClassLabel(names=["cat", "dog", "hen"])}
        | {name: datasets.Value("string") for name in more}
    )
    return datasets.Dataset.from_dict(columns, features=features)


def read(path: Path, **chosen: Any) -> Any:
    place = PLACE | {key: chosen.pop(key) for key in list(chosen) if key in PLACE}
    return huggingface(str(path), False, **(FORM | chosen), **place)


def save_parquet(folder: Path, **parts: Any) -> Path:
    folder.mkdir()
    for name, part in parts.items():
        part.to_parquet(str(folder / f"{name}.parquet"))
    return folder


@pytest.mark.parametrize("form", ["parquet", "saved", "saved split"])
def test_splits_and_columns_are_found(tmp_path: Path, form: str) -> None:
    folder = tmp_path / "data"
    if form == "parquet":
        save_parquet(folder, train=table(12, note="x"), test=table(6, note="x"))
    elif form == "saved":
        datasets.DatasetDict({"train": table(12), "validation": table(6)}).save_to_disk(str(folder))
    else:
        table(24).save_to_disk(str(folder))
    train, test, notes = read(folder)
    assert train[0].dtype == torch.uint8
    assert train[0].shape[1:] == test[0].shape[1:] == (3, 4, 5)
    for images, labels in (train, test):
        assert images[:, 0, 0, 0].tolist() == [40 * label for label in labels.tolist()]
        assert (images[:, 1] + images[:, 2]).unique().tolist() == [200]
    if form == "saved split":  # a share of each class
        assert test[1].bincount().tolist() == [2, 2, 2]
        assert sorted([*train[0][:, 1, 0, 0].tolist(), *test[0][:, 1, 0, 0].tolist()]) == list(range(24))
    else:
        assert (len(train[0]), len(test[0])) == (12, 6)
    assert "columns image and label" in notes[0]
    assert huggingface_classes(str(folder), download=False, **PLACE) == ["cat", "dog", "hen"]


def test_folders_of_images_are_read(tmp_path: Path) -> None:
    for part, number in (("train", 3), ("test", 2)):
        for label, name in enumerate(("a", "b")):
            (tmp_path / "data" / part / name).mkdir(parents=True)
            for i in range(number):
                picture(label, i).save(tmp_path / "data" / part / name / f"{i}.png")
    train, test, _ = read(tmp_path / "data")
    assert (len(train[0]), len(test[0])) == (6, 4)
    assert train[0][:, 0, 0, 0].tolist() == [40 * label for label in train[1].tolist()]


def test_classes_are_chosen_in_the_order_that_is_given(tmp_path: Path) -> None:
    folder = save_parquet(tmp_path / "data", train=table(12), test=table(6))
    train, test, _ = read(folder, classes=["hen", "cat"])
    assert train[0][:, 0, 0, 0].tolist() == [80 if label == 0 else 0 for label in train[1].tolist()]
    assert train[1].bincount().tolist() == [4, 4]
    assert len(test[0]) == 4
    with pytest.raises(ConfigError, match="no class 'hne'; did you mean 'hen'"):
        read(folder, classes=["hne", "cat"])


@pytest.mark.parametrize("kind", ["int64", "string"])
def test_plain_labels_become_classes(tmp_path: Path, kind: str) -> None:
    part = table(12, feature=datasets.Value("int64")).cast_column("label", datasets.Value(kind))
    folder = save_parquet(tmp_path / "data", train=part)
    train, _, _ = read(folder)
    assert train[0][:, 0, 0, 0].tolist() == [40 * label for label in train[1].tolist()]
    assert huggingface_classes(str(folder), download=False, **PLACE) == ["0", "1", "2"]


def test_numbers_of_classes_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    rows = {"image": [Image.new("L", (5, 4), label) for label in range(12)] * 2, "label": [*range(12)] * 2}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    folder = save_parquet(tmp_path / "data", train=datasets.Dataset.from_dict(rows, features=features))
    assert huggingface_classes(str(folder), download=False, **PLACE) == [str(c) for c in range(12)]
    train, _, _ = read(folder)
    assert train[0][:, 0, 0, 0].tolist() == train[1].tolist()


def test_images_get_the_size_and_the_channels(tmp_path: Path) -> None:
    folder = save_parquet(tmp_path / "data", train=table(12))
    train, _, _ = read(folder, size=(8, 6), channels=1)
    assert train[0].shape[1:] == (1, 8, 6)


def test_pictures_are_upright(tmp_path: Path) -> None:
    turned = Image.new("RGB", (5, 4), "black")
    turned.paste("white", (0, 0, 5, 1))
    exif = Image.Exif()
    exif[274] = 3  # upside down
    file = io.BytesIO()
    turned.save(file, "PNG", exif=exif)
    rows = {"image": [{"bytes": file.getvalue(), "path": None}] * 4, "label": [0, 0, 1, 1]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    part = datasets.Dataset.from_dict(rows, features=features)
    train, _, _ = read(save_parquet(tmp_path / "data", train=part))
    assert train[0][0, 0, :, 0].tolist() == [0, 0, 0, 255]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"image": "picture"}, "dataset.image: there is no column 'picture'; name one of image, label, note"),
        ({"image": "note"}, "dataset.image=note: is a column of Value, not of images"),
        ({"label": "class"}, "dataset.label: there is no column 'class'"),
        ({"train": "training"}, "dataset.train=training: no such split; there are train, test"),
        ({"test": "validation"}, "dataset.test=validation: no such split"),
        ({"fit": "stretch"}, "dataset.fit=stretch"),
    ],
)
def test_wrong_choices_are_refused(tmp_path: Path, chosen: dict[str, str], message: str) -> None:
    folder = save_parquet(tmp_path / "data", train=table(12, note="x"), test=table(6, note="x"))
    with pytest.raises(ConfigError) as caught:
        read(folder, **chosen)
    assert message in str(caught.value)


def test_what_is_not_clear_is_asked_for(tmp_path: Path) -> None:
    names = datasets.ClassLabel(names=["a", "b"])
    features = datasets.Features({"image": datasets.Image(), "shape": names, "colour": names})
    rows = {"image": [picture(0, 0)] * 4, "shape": [0, 1, 0, 1], "colour": [0, 0, 1, 1]}
    folder = save_parquet(tmp_path / "data", train=datasets.Dataset.from_dict(rows, features=features))
    with pytest.raises(ConfigError) as caught:
        read(folder)
    assert "dataset.label: cannot tell which column it is; name one of image, shape" in str(caught.value)
    assert read(folder, label="colour")[0][1].bincount().tolist() == [1, 1]


def test_a_broken_image_is_named_by_its_row(tmp_path: Path) -> None:
    rows = {"image": [{"bytes": b"no picture", "path": None}] * 4, "label": [0, 0, 1, 1]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    part = datasets.Dataset.from_dict(rows, features=features)
    with pytest.raises(ConfigError, match="row 0 of train has no readable image"):
        read(save_parquet(tmp_path / "data", train=part))


ADDRESS = "http://127.0.0.1:9/a.png"  # nothing listens there


def test_files_elsewhere_are_neither_fetched_nor_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger's folder may name addresses, and files of the reader."""
    connected = []
    monkeypatch.setattr("socket.socket.connect", lambda self, address: connected.append(address))
    picture(0, 0).save(tmp_path / "private.png")
    for i, path in enumerate((ADDRESS, str(tmp_path / "private.png"), f"{tmp_path}/data2/../private.png")):
        rows = {"image": [{"bytes": None, "path": path}] * 8, "label": [0, 1] * 4}
        folder = tmp_path / f"data{i}"
        folder.mkdir()
        write_table(
            datasets.Dataset.from_dict(rows, features=table(3).features).data.table, folder / "a.parquet"
        )
        with pytest.raises(ConfigError, match=r"row 0 of train has no readable image \(it is elsewhere, at"):
            read(folder)
    folder = save_parquet(tmp_path / "card", train=table(8))
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: a\n  data_files: {ADDRESS}\n---\n")
    with pytest.raises(ConfigError, match=r"README.md: names files elsewhere, http://127.0.0.1:9/a.png"):
        read(folder)
    assert connected == []


def test_splits_with_other_classes_are_refused(tmp_path: Path) -> None:
    """The labels of one would mean other classes in the other."""
    other = table(6, feature=datasets.ClassLabel(names=["dog", "cat", "hen"]))
    datasets.DatasetDict({"train": table(12), "test": other}).save_to_disk(str(tmp_path / "data"))
    with pytest.raises(ConfigError, match=r"dataset\.label=label: test has no such column, or other classes"):
        read(tmp_path / "data")


@pytest.mark.parametrize(
    ("labels", "kind", "message"),
    [
        ([0.5, 1.0], "float64", "dataset.label=label: is a column of float64"),
        (["a", None], "string", "row 1 of train has no label (None)"),
        ([0, -1], None, "row 1 of train has no label (-1)"),
    ],
)
def test_labels_that_are_no_classes_are_refused(
    tmp_path: Path, labels: list[Any], kind: str | None, message: str
) -> None:
    feature = datasets.ClassLabel(names=["a", "b"]) if kind is None else datasets.Value(kind)
    rows = {"image": [picture(0, i) for i in range(8)], "label": [*labels, *(labels[:1] * 6)]}
    features = datasets.Features({"image": datasets.Image(), "label": feature})
    part = datasets.Dataset.from_dict(rows, features=features)
    if kind == "string":
        part = datasets.concatenate_datasets([part, part.map(lambda row: {"label": "b"})])
    part.save_to_disk(str(tmp_path / "data"))
    with pytest.raises(ConfigError) as caught:
        read(tmp_path / "data")
    assert message in str(caught.value)


def test_a_split_saved_for_torch_is_read_like_others(tmp_path: Path) -> None:
    table(12).with_format("torch").save_to_disk(str(tmp_path / "data"))
    assert read(tmp_path / "data")[0][1].bincount().tolist() == [3, 3, 3]


def test_configurations_are_named(tmp_path: Path) -> None:
    folder = save_parquet(tmp_path / "data", small=table(12), large=table(24))
    head = [f"- config_name: {name}\n  data_files: {name}.parquet" for name in ("small", "large")]
    (folder / "README.md").write_text("\n".join(["---", "configs:", *head, "---", ""]))
    with pytest.raises(ConfigError, match=r"which configuration\? .*small.*large.*dataset\.subset="):
        read(folder)
    assert len(read(folder, subset="large")[0][0]) == 18


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (None, "dataset.path: name a dataset of the hub"),
        ("./nowhere", "dataset.path=./nowhere: no such folder"),
        ("nobody/nothing", "dataset.path=nobody/nothing: cannot be loaded"),
    ],
)
def test_absent_datasets_are_refused_without_the_network(path: str | None, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        huggingface(path, False, **FORM, **PLACE)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_condenses_and_evaluates_it(typed: Run, tmp_path: Path) -> None:
    save_parquet(tmp_path / "data", train=table(24), test=table(6))
    words = ["dataset=huggingface", "dataset.path=data", "dataset.size=[16,16]", "evaluation.networks=1"]
    done = typed("train", *TINY, *words, "dataset.name=tiny", "hydra.run.dir=made")
    assert done.returncode == 0, done.stderr
    assert "cat, dog, hen" in done.stdout
    assert CondensedDataset(tmp_path / "made").metadata["method"] == "mda with dataset.size=[16,16]"
    (tmp_path / "data").rename(tmp_path / "moved (1)")
    again = typed("evaluate", "run=made", "evaluation.networks=1", "dataset.path=moved (1)")
    assert again.returncode == 0, again.stderr
    line = refusal(typed("train", *TINY, "dataset=huggingface", "dataset.path=elsewhere/none"))
    assert "cannot be loaded" in line
