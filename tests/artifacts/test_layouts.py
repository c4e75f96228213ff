"""Files of other programs: each layout is read as it is published, and nothing in a hostile one runs."""

import io
import json
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gmlight.artifacts import layouts, picture_layouts
from gmlight.artifacts.foreign_set import ForeignSet
from gmlight.artifacts.recognition import auto
from gmlight.errors import ConfigError
from helpers.published import write_dc, write_idc, write_mtt, write_pictures

IMAGES = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
PIXELS = (IMAGES * 255).byte()
LABELS = torch.tensor([0, 0, 1, 1, 2, 2])
SOFT = torch.randn(6, 3, generator=torch.Generator().manual_seed(1)).softmax(1)
NAMES = ["a", "b", "c"]


def recognised(path: Path, experiment: int = 0) -> ForeignSet:
    return auto(path, experiment=experiment)


def test_dc(tmp_path: Path) -> None:
    path = write_dc(tmp_path / "res_DC_CIFAR10_ConvNet_2ipc.pt", (IMAGES, LABELS), (IMAGES + 1, LABELS))
    for found in (recognised(path, 1), layouts.dc(tmp_path, experiment=1), recognised(tmp_path, 1)):
        assert (found.layout, found.normalization, found.decoded) == ("dc", "dc", True)
        assert torch.equal(found.images, IMAGES + 1)
        assert torch.equal(found.labels, LABELS)
        assert found.notes == {"experiment": 1, "experiments": 2}
    assert torch.equal(recognised(path).images, IMAGES)
    with pytest.raises(ConfigError, match=r"layout.experiment=2: .* has 0 to 1"):
        recognised(path, 2)


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_accuracies_of_dc_are_skipped(tmp_path: Path, module: bytes) -> None:
    """They are NumPy scalars, whose module has two names."""
    path = write_dc(tmp_path / "written.pt", (IMAGES, LABELS))
    with zipfile.ZipFile(path) as read, zipfile.ZipFile(tmp_path / "res.pt", "w") as written:
        for name in read.namelist():
            content = re.sub(rb"numpy\._?core\.multiarray", module, read.read(name))
            assert (module in content) == name.endswith("data.pkl")
            written.writestr(name, content)
    assert torch.equal(recognised(tmp_path / "res.pt").images, IMAGES)


def test_idc(tmp_path: Path) -> None:
    for folder in (write_idc(tmp_path / "idc", IMAGES, LABELS), tmp_path / "idc" / "data.pt"):
        found = recognised(folder)
        assert (found.layout, found.normalization, found.decoded) == ("idc", "none", False)
        assert torch.equal(found.images, IMAGES)
        assert torch.equal(found.labels, LABELS)
    with pytest.raises(ConfigError, match=r"layout\.experiment=1: idc has no experiments"):
        recognised(tmp_path / "idc", 1)


@pytest.mark.parametrize("rate", [None, 0.02, torch.tensor(0.02)], ids=["none", "float", "tensor"])
def test_mtt(tmp_path: Path, rate: Any) -> None:
    folder = write_mtt(tmp_path / "mtt", IMAGES.clone().requires_grad_(), SOFT, rate)
    for path in (folder, folder / "images_best.pt"):
        found = recognised(path)
        assert (found.layout, found.normalization) == ("mtt", None)
        assert torch.equal(found.images, IMAGES)
        assert not found.images.requires_grad
        assert torch.equal(found.labels, SOFT)
        assert found.notes == ({} if rate is None else {"learning_rate": pytest.approx(0.02)})


def test_npz_and_pt(tmp_path: Path) -> None:
    content: dict[str, Any] = {"images": IMAGES, "labels": LABELS, "soft_labels": SOFT}
    named: dict[str, Any] = {"classes": NAMES, "mean": [0.5, 0.4, 0.3], "std": [0.2] * 3}
    arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in content.items()}
    np.savez(tmp_path / "plain.npz", **arrays)
    np.savez_compressed(tmp_path / "condensed.npz", **arrays, **named)
    torch.save(content, tmp_path / "plain.pt")
    (tmp_path / "inner").mkdir()
    torch.save(content | named, tmp_path / "inner" / "condensed.pt")
    for path, stated in (
        (tmp_path / "plain.npz", False), (tmp_path, True), (tmp_path / "plain.pt", False),
        (tmp_path / "inner", True),
    ):  # fmt: skip
        found = recognised(path)
        assert torch.equal(found.images, IMAGES)
        assert torch.equal(found.labels, LABELS)
        assert found.soft_labels is not None
        assert torch.equal(found.soft_labels, SOFT)
        assert found.classes == (NAMES if stated else None)
        assert found.mean == ([0.5, 0.4, 0.3] if stated else None)
        assert found.normalization == ("stated" if stated else None)


def test_pictures(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "png", PIXELS, LABELS, NAMES)
    (folder / "export.json").write_text("{}")
    (folder / "a" / ".DS_Store").write_text("")
    found = recognised(folder)
    assert (found.layout, found.classes, found.normalization) == ("png", NAMES, "none")
    assert torch.equal(found.images, PIXELS)
    assert found.labels.tolist() == LABELS.tolist()
    assert len(found.files) == 6


def encoded(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS[number].permute(1, 2, 0).contiguous().numpy()).save(buffer, "PNG")
    return buffer.getvalue()


def table_of(label: str, values: list, names: list[str] | None = None) -> Any:
    pyarrow = pytest.importorskip("pyarrow")
    features: dict = {"image": {"_type": "Image"}, label: {"_type": "ClassLabel", "names": names}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})} if names else {}
    rows = {"image": [{"bytes": encoded(i), "path": None} for i in range(6)], label: values}
    return pyarrow.table(rows).replace_schema_metadata(metadata)


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_hugging_face(tmp_path: Path, form: str) -> None:
    """As on the Hub, and as `save_to_disk` writes it; the train split is read, by its name."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    folder = tmp_path / "set" / ("data" if form == "parquet" else "train")
    folder.mkdir(parents=True)
    for split, table in (
        ("train", table_of("label", LABELS.tolist(), NAMES)),
        ("test", table_of("label", [0] * 6, NAMES)),
    ):
        if form == "parquet":
            parquet.write_table(table, folder / f"{split}-00000-of-00001.parquet")
        else:
            path = tmp_path / "set" / split / "data-00000-of-00001.arrow"
            path.parent.mkdir(exist_ok=True)
            with (
                pyarrow.OSFile(str(path), "wb") as file,
                pyarrow.ipc.new_stream(file, table.schema) as writer,
            ):
                writer.write_table(table)
    found = recognised(tmp_path / "set")
    assert (found.layout, found.classes, found.normalization) == ("huggingface", NAMES, "none")
    assert torch.equal(found.images, PIXELS)
    assert found.labels.tolist() == LABELS.tolist()


def test_labels_of_hugging_face_may_be_names(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(table_of("label", ["b", "b", "c", "c", "a", "a"]), tmp_path / "x.parquet")
    found = recognised(tmp_path / "x.parquet")
    assert (found.classes, found.labels.tolist()) == (NAMES, [1, 1, 2, 2, 0, 0])


class Touch:
    """An object whose pickle makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable, tuple]:
        return open, (str(self.path), "w")


def hostile(folder: Path) -> dict[str, tuple[Callable[[Path], object], str]]:
    """Returns a writer of a file by its name, and what is said of the file."""
    run = Touch(folder / "ran")
    huge = torch.zeros(1).expand(10**6, 3, 100, 100)
    sparse = torch.eye(3).to_sparse()

    def saved(content: Any) -> Callable[[Path], object]:
        return lambda path: torch.save(content, path)

    def save_nested(path: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says that they are a prototype
            torch.save([torch.nested.nested_tensor([torch.zeros(2)]), LABELS], path)

    def arrays(**content: Any) -> Callable[[Path], object]:
        return lambda path: np.savez(path, **content)

    def bomb(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("images.npy", bytes(2**28 + 2**20))

    return {
        "code.pt": (saved({"data": run}), "holds more than tensors"),
        "in_a_list.pt": (saved([IMAGES, run]), "holds more than tensors"),
        "arrays.pt": (saved({"data": [[IMAGES.numpy(), LABELS.numpy()]]}), "holds more than tensors"),
        "raw_pickle.pt": (lambda path: path.write_bytes(pickle.dumps(run)), "must be a zip archive"),
        "objects.npz": (arrays(images=np.array([run], object), labels=[0]), "cannot be read"),
        "text.npz": (arrays(images=np.array(["x"]), labels=[0]), "images: must be numbers"),
        "no_labels.npz": (arrays(images=IMAGES.numpy()), "has no labels"),
        "bomb.npz": (bomb, "unpacks to 257 MiB, which is not plausible"),
        "empty.pt": (lambda path: path.write_bytes(b""), "must be a zip archive"),
        "text.pt": (lambda path: path.write_text("x" * 1000), "must be a zip archive"),
        "repeated.pt": (saved([huge, LABELS]), "repeats its values"),
        "sparse.pt": (saved([sparse, LABELS]), "must be a tensor of plain numbers"),
        "complex.pt": (saved([IMAGES + 1j, LABELS]), "must be a tensor of plain numbers"),
        "nested.pt": (save_nested, "must be a tensor of plain numbers"),
        "bits.pt": (
            saved([IMAGES, LABELS.to(torch.uint8).view(torch.bits8)]), "must be a tensor of plain numbers"
        ),
        "eighth.pt": (
            saved([IMAGES.to(torch.float8_e5m2), LABELS]), "must be a tensor of plain numbers"
        ),
        "three.pt": (saved([IMAGES, LABELS, LABELS]), r"must hold \[images, labels\]"),
        "tensor.pt": (saved(IMAGES), r"must hold \[images, labels\]"),
        "data.pt": (saved({"data": []}), r"data must be a list of \[images, labels\]"),
        "text_data.pt": (saved({"data": [["x", "y"]]}), "images: must be a tensor, not str"),
        "classes.pt": (saved({"images": IMAGES, "labels": LABELS, "classes": 3}), "classes must be a list"),
        "mean.pt": (
            saved({"images": IMAGES, "labels": LABELS, "mean": "x", "std": [1]}),
            "mean must be a list of finite numbers",
        ),
        "endless.pt": (
            saved({"images": IMAGES, "labels": LABELS, "mean": [10**400] * 3, "std": [1] * 3}),
            "mean must be a list of finite numbers",
        ),
        "wrong.parquet": (lambda path: path.write_text("PAR1"), "cannot be read"),
        "absent.pt": (lambda path: None, "cannot be read"),
        "pipe.pt": (os.mkfifo, "must be a file of at most"),
        "folder.pt": (lambda path: path.mkdir(), "no layout is recognised in nothing"),
    }  # fmt: skip


@pytest.mark.parametrize("name", hostile(Path()))
def test_hostile_files_are_refused(tmp_path: Path, name: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    write, message = hostile(tmp_path)[name]
    write(tmp_path / name)
    with pytest.raises(ConfigError, match=message) as error:
        recognised(tmp_path / name)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()


def test_no_damage_ends_in_another_error(tmp_path: Path) -> None:
    """Truncated files, and files with flipped bytes: refused in one line, or read."""
    write_dc(tmp_path / "dc.pt", (IMAGES, LABELS))
    np.savez(tmp_path / "x.npz", images=IMAGES.numpy(), labels=LABELS.numpy())
    rng = torch.Generator().manual_seed(0)
    for path in (tmp_path / "dc.pt", tmp_path / "x.npz"):
        whole = path.read_bytes()
        damaged = [whole[:length] for length in range(0, len(whole), 97)]
        for place in torch.randint(len(whole), (60,), generator=rng).tolist():
            damaged.append(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        refused = 0
        for content in damaged:
            path.write_bytes(content)
            try:
                recognised(path)
            except ConfigError:
                refused += 1
        assert refused > len(damaged) / 2


def test_pictures_that_are_none(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "png", PIXELS, LABELS, NAMES)
    for name, write, message in (
        ("x.png", lambda path: path.write_text("no picture"), "is no picture of the formats"),
        ("x.png", lambda path: Image.new("RGB", (5, 4)).save(path), r"x.png: is \[3, 4, 5\], the first"),
        ("x.png", lambda path: Image.new("1", (3000, 3000)).save(path), "larger than any condensed image"),
        ("x.png", lambda path: Image.new("RGB", (4, 4)).save(path, "TIFF"), "is no picture of the formats"),
        ("x.png", os.mkfifo, "must be a file of at most"),
    ):
        path = folder / "a" / name
        write(path)  # type: ignore[no-untyped-call]
        with pytest.raises(ConfigError, match=message):
            picture_layouts.png(folder)
        path.unlink()
    (tmp_path / "empty" / "a").mkdir(parents=True)
    with pytest.raises(ConfigError, match="must hold pictures in class folders"):
        recognised(tmp_path / "empty")


def large(number: int, path: Path) -> bytes:
    """Returns a picture of 12 KiB that decodes to 4 MiB, and writes it in one class `number` times."""
    buffer = io.BytesIO()
    Image.new("L", (2048, 2048), 255).save(buffer, "PNG")
    path.mkdir(parents=True)
    for i in range(number):
        (path / f"{i}.png").write_bytes(buffer.getvalue())
    return buffer.getvalue()


def test_many_large_pictures_are_refused_before_they_fill_the_memory(tmp_path: Path) -> None:
    content = large(66, tmp_path / "png" / "a")  # 264 MiB; at most 256 MiB are plausible
    with pytest.raises(ConfigError, match="unpacks to more than 256 MiB, which is not plausible"):
        picture_layouts.png(tmp_path / "png")
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    for first in (content, encoded(0)):  # all of one size, or the first one small
        rows = {"image": [{"bytes": each} for each in (first, *[content] * 65)], "label": [0] * 66}
        parquet.write_table(pyarrow.table(rows), tmp_path / "x.parquet")
        said = "unpacks to more than 256 MiB" if first == content else "all must be of one size"
        with pytest.raises(ConfigError, match=said):
            recognised(tmp_path / "x.parquet")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"picture": [b"x"], "label": [0]}, "has the columns picture, label; must have one of image"),
        ({"image": [{"bytes": None, "path": "/etc/passwd"}], "label": [0]}, "pictures must be in the file"),
        ({"image": [{"bytes": b"x", "path": None}], "label": [0]}, "is no picture"),
        ({"image": [{"bytes": encoded(0)}], "label": [0.5]}, "labels must be whole numbers or names"),
        ({"image": [{"bytes": encoded(0)}], "label": [None]}, "labels must be whole numbers or names"),
        ({"image": [{"bytes": encoded(0)}], "label": [[0, 1]]}, "labels must be whole numbers or names"),
    ],
    ids=range(6),
)
def test_tables_that_are_none(tmp_path: Path, rows: dict, message: str) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(rows), tmp_path / "x.parquet")
    with pytest.raises(ConfigError, match=message):
        recognised(tmp_path / "x.parquet")
