"""Image folders from end to end: what is read of the known cases, and what is kept for later runs."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from gmlight.builders.data import build_data
from gmlight.config.compose import name_classes
from gmlight.data import decoding
from gmlight.data.datamodule import CondensationData
from gmlight.data.image_folders import image_folder, tiny_imagenet, tiny_imagenet_classes
from gmlight.data.pixel_cache import PixelCache
from gmlight.data.splits import NotedSplits
from gmlight.errors import ConfigError
from helpers.runs import composed

COLOURS = {"cat": (200, 0, 0), "dog": (0, 200, 0), "eel": (0, 0, 200)}


def write(path: Path, colour: tuple[int, int, int] = (1, 2, 3), **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (5, 4), colour).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, colour in COLOURS.items():
        for i in range(5):
            write(tmp_path / "own" / name / f"{i}.png", (*colour[:2], colour[2] + i))
    return tmp_path / "own"


def read(root: Path, **options: object) -> NotedSplits:
    keys = {"size": [4, 6], "channels": 3, "test_share": 0.2, "split_seed": 0}
    return image_folder(str(root), False, **keys | options)


def loaded(root: Path, *overrides: str) -> CondensationData:
    words = [f"dataset.root={root}", "dataset.size=[4,6]", "dataset.mean=[0,0,0]", "dataset.std=[1,1,1]"]
    config = composed("dataset=image_folder", *words, *overrides)
    name_classes(config)
    return build_data(config).load(torch.device("cpu"))


def first_colours(part: tuple[Tensor, Tensor]) -> dict[int, list[int]]:
    return {label: part[0][part[1] == label][0, :, 0, 0].tolist() for label in part[1].unique().tolist()}


def test_classes_have_their_colours(folder: Path) -> None:
    train, test, notes = read(folder)
    assert train[1].bincount().tolist() == [4, 4, 4]
    assert test[1].bincount().tolist() == [1, 1, 1]
    assert (train[0].shape, train[0].dtype) == ((12, 3, 4, 6), torch.uint8)
    assert {c: colour[:2] for c, colour in first_colours(test).items()} == {
        0: [200, 0],
        1: [0, 200],
        2: [0, 0],
    }
    assert notes == []


def test_chosen_classes_in_their_order(folder: Path) -> None:
    data = loaded(folder, "dataset.classes=[eel,cat]")
    assert data.classes == ("eel", "cat")
    assert first_colours((data.test.images, data.test.labels))[1][:2] == [200, 0]
    assert data.notes == ("passed over: 1 class folders that are not in dataset.classes: dog",)
    with pytest.raises(ConfigError, match=r"has no class 'eal'; did you mean 'eel'\?"):
        loaded(folder, "dataset.classes=[eal,cat]")


def test_chosen_classes_whose_names_are_numbers(folder: Path) -> None:
    (folder / "cat").rename(folder / "7")
    assert loaded(folder, "dataset.classes=[eel,7]").classes == ("eel", "7")


def test_keys_of_the_form_reach_the_pictures(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for i in range(2):
            path = write(tmp_path / name / f"{i}.png")
            Image.new("RGBA", (8, 4), (9, 9, 9, 0)).save(path)
    data = loaded(tmp_path, "dataset.background=black")
    assert data.train.images.max() == 0
    grey = ["dataset.channels=1", "dataset.mean=[0]", "dataset.std=[1]"]
    data = loaded(tmp_path, "dataset.fit=pad", "dataset.background='#0000ff'", *grey)
    assert data.train.images.unique().tolist() == [29]
    with pytest.raises(ConfigError, match=r"dataset\.background=blau"):
        loaded(tmp_path, "dataset.background=blau")


def test_configurations_of_earlier_versions_lack_the_new_keys(folder: Path) -> None:
    splits = image_folder(str(folder), False, size=[4, 6], channels=3, test_share=0.2, split_seed=0)
    assert len(splits[0][1]) == 12


def test_unreadable_images_are_named_at_once_and_can_be_skipped(folder: Path) -> None:
    (folder / "cat" / "x.png").write_bytes(b"")
    for i in range(6):
        (folder / "dog" / f"y{i}.jpg").write_text("<html>")
    whole = (folder / "eel" / "0.png").read_bytes()
    (folder / "eel" / "w").write_bytes(whole[:50])  # known by its content
    (folder / "eel" / "z.bmp").symlink_to("nowhere")
    message = (
        r"own: 9 images cannot be read: cat/x.png \(empty\), dog/y0.jpg \(no format.*, \.\.\. \(9\); repair"
    )
    with pytest.raises(ConfigError, match=message + ".*by dataset.skip_unreadable=true"):
        loaded(folder)
    data = loaded(folder, "dataset.skip_unreadable=true")
    assert (data.train.counts, data.test.counts) == ([4, 4, 4], [1, 1, 1])
    assert data.notes[0].startswith("passed over: 9 images that cannot be read: cat/x.png, dog/y0.jpg")


def test_other_files_are_passed_over_and_said(folder: Path) -> None:
    (folder / "cat" / "notes.txt").write_text("hello")
    (folder / "dog" / "boxes.json").write_text("{}")
    assert read(folder)[2] == ["passed over: 2 files that are no images: cat/notes.txt, dog/boxes.json"]


@pytest.mark.parametrize("part", ["", "train", "test"])
def test_a_class_without_images_is_named(part: str, folder: Path, tmp_path: Path) -> None:
    if part:
        root = tmp_path / "parts"
        for each in ("train", "test"):
            for name in COLOURS:
                write(root / each / name / "1.png")
        folder = root
    for path in (folder / part / "dog").iterdir():
        path.unlink()
    (folder / part / "dog" / "readme.txt").write_text("no image")
    where = f"in the {part} part" if part else "there"
    with pytest.raises(
        ConfigError, match=f"class 'dog' has no images {where}; remove the class or add images"
    ):
        read(folder)


def test_no_images_at_all(tmp_path: Path) -> None:
    for name in COLOURS:
        (tmp_path / name).mkdir()
    with pytest.raises(ConfigError, match="class 'cat' has no images there"):
        read(tmp_path)


@pytest.mark.parametrize("content", ["pipe", "loop"])
def test_pipes_and_loops_do_not_stop_a_run(content: str, folder: Path) -> None:
    if content == "pipe":
        os.mkfifo(folder / "cat" / "x.png")
    else:
        (folder / "cat" / "x").symlink_to("..")
    train, test, notes = read(folder)
    assert (len(train[1]), len(test[1])) == (12, 3)
    assert len(notes) == 1


CASES = Path(os.environ.get("GMLIGHT_CASES_DIR", "")) / "images"
RIGHT: dict[str, tuple[list[int], list[int], str]] = {
    "abc": ([8, 8, 8], [2, 2, 2], ""),
    "abc-plus-one": ([9, 8, 8], [2, 2, 2], ""),
    "alpha-mixed": ([8, 8], [2, 2], ""),
    "alpha-rgba": ([8, 8], [2, 2], ""),
    "appledouble-inside": ([8, 8], [2, 2], "1 hidden or system entries: cat/._0001.jpg"),
    "capital-train-test": ([10, 10, 10], [5, 5, 5], ""),
    "exif-srational-neg": ([9, 8], [2, 2], ""),
    "exif-xp-undefined": ([9, 8], [2, 2], ""),
    "gif-jfif-avif": ([8, 8], [2, 2], ""),
    "gray16": ([8, 8], [2, 2], ""),
    "ipynb-class": ([8, 8], [2, 2], "1 hidden or system entries: .ipynb_checkpoints"),
    "ipynb-inside": ([8, 8], [2, 2], "1 hidden or system entries: cat/.ipynb_checkpoints"),
    "long-tail": ([2, 20], [5, 5], ""),
    "many-few": ([2] * 30, [1] * 30, ""),
    "train-val": ([10, 10], [5, 5], ""),
    "unbalanced": ([1, 160], [1, 40], ""),
    "yes-no": ([8, 8], [2, 2], ""),
}
WRONG = {
    "flat-test": "/test: 5 files and no class folders there; sort them",
    "html-as-jpg": r"1 image cannot be read: cat/zz.jpg \(no format",
    "one-image": "class 'frog' has one image",
    "zero-bytes": r"2 images cannot be read: cat/zz.jpg \(empty\), dog/zz.jpg \(empty\); repair",
}
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason="GMLIGHT_CASES_DIR names no cases")


@needs_cases
@pytest.mark.parametrize("name", RIGHT)
def test_known_cases_are_read(name: str) -> None:
    train, test, notes = read(CASES / name)
    line = "".join(notes).removeprefix("passed over: ")
    assert (train[1].bincount().tolist(), test[1].bincount().tolist(), line) == RIGHT[name]


@needs_cases
@pytest.mark.parametrize("name", WRONG)
def test_known_cases_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=WRONG[name]):
        read(CASES / name)


def make_tiny(root: Path, val: str) -> Path:
    """Writes Tiny ImageNet of two classes, its validation images flat or by class."""
    top, names = root / "tiny-imagenet-200", ["n02", "n01"]  # wnids.txt is not sorted
    for name, colour in zip(names, COLOURS.values(), strict=False):
        for i in range(3):
            write(top / "train" / name / "images" / f"{name}_{i}.JPEG", colour)
        (top / "train" / name / f"{name}_boxes.txt").write_text("n_0.JPEG\t0\t0\t62\t62")
    lines = []
    for i, name in enumerate(["n01", "n02", "n01"]):
        places = {"flat": "images", "by class": name, "by class, in images": f"{name}/images"}
        write(top / "val" / places[val] / f"val_{i}.JPEG", (0, 0, 100 + 50 * i))
        lines.append(f"val_{i}.JPEG\t{name}\t0\t0\t62\t62")
    (top / "wnids.txt").write_text("\n".join(names) + "\n")
    if val != "by class":
        (top / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    return top


@pytest.mark.parametrize("val", ["flat", "by class", "by class, in images"])
def test_tiny_imagenet(val: str, tmp_path: Path) -> None:
    make_tiny(tmp_path, val)
    train, test, notes = tiny_imagenet(str(tmp_path), False, size=[4, 6])
    assert tiny_imagenet_classes(str(tmp_path)) == ["n02", "n01"]
    assert (train[1].tolist(), sorted(test[1].tolist())) == ([0, 0, 0, 1, 1, 1], [0, 1, 1])
    assert first_colours(train)[0] == pytest.approx(COLOURS["cat"], abs=3)
    assert first_colours(test)[0] == pytest.approx([0, 0, 150], abs=3)  # val_1
    boxes = "train/n02/n02_boxes.txt, train/n01/n01_boxes.txt"
    assert notes == [f"passed over: 2 files that are no images: {boxes}"]


@pytest.mark.parametrize("val", ["flat", "by class"])
def test_chosen_classes_of_tiny_imagenet(val: str, tmp_path: Path) -> None:
    make_tiny(tmp_path, val)
    train, test, _ = tiny_imagenet(str(tmp_path), False, size=[4, 6], classes=["n01", "n02"])
    assert first_colours(train)[1] == pytest.approx(COLOURS["cat"], abs=3)
    assert first_colours(test)[1] == pytest.approx([0, 0, 150], abs=3)
    with pytest.raises(ConfigError, match="has no class 'n03'"):
        tiny_imagenet_classes(str(tmp_path), classes=["n01", "n03"])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda top: (top / "wnids.txt").unlink(), "Tiny ImageNet is absent"),
        (lambda top: (top / "val" / "val_annotations.txt").unlink(), "is incomplete .*unpack"),
        (lambda top: (top / "wnids.txt").write_text("n02\nn01\nn03"), r"incomplete \(no folder train/n03\)"),
        (lambda top: (top / "wnids.txt").write_text("n02\nn07"), r"incomplete \(no folder train/n07\)"),
        (lambda top: (top / "val/val_annotations.txt").write_text("val_0.JPEG\tn09\t0"), "incomplete .*n09"),
        (
            lambda top: (top / "val/images/val_1.JPEG").unlink(),
            "1 image cannot be read: val/images/val_1.JPEG",
        ),
    ],
)
def test_incomplete_tiny_imagenet_is_refused(
    spoil: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    spoil(make_tiny(tmp_path, "flat"))
    with pytest.raises(ConfigError, match=message):
        tiny_imagenet(str(tmp_path), False, size=[4, 6])


@needs_cases
def test_tiny_imagenet_by_class_of_the_cases() -> None:
    train, test, _ = tiny_imagenet(str(CASES / "tiny-val-by-class"), False, size=[8, 8])
    assert (train[1].bincount().tolist(), test[1].bincount().tolist()) == ([8] * 3, [4] * 3)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Keeps the pixels of any folder, and returns the list of the files that are decoded."""
    monkeypatch.setattr(decoding, "MOST_UNCACHED", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    read_picture, paths = decoding.read_picture, []

    def counted(path: str, form: object) -> Tensor | None:
        paths.append(path)
        return read_picture(path, form)

    monkeypatch.setattr(decoding, "read_picture", counted)
    return paths


def same(splits: NotedSplits, others: NotedSplits) -> bool:
    return all(torch.equal(a, b) for i in range(2) for a, b in zip(splits[i], others[i], strict=True))


def touch_again(path: Path, content: bytes) -> None:
    """Writes a file and gives it its former times, as an editor or a copy may."""
    status = path.stat()
    time.sleep(0.02)  # longer than a tick of the file system's clock
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_pixels_are_decoded_once(folder: Path, decoded: list[str]) -> None:
    (folder / "cat" / "notes.txt").write_text("hello")
    first = read(folder)
    assert len(decoded) == 16
    assert same(read(folder), first)
    assert read(folder)[2] == first[2]
    assert len(decoded) == 16
    assert [path.suffix for path in (folder / ".gmlight").iterdir()] == [".safetensors"]
    moved = folder.rename(folder.with_name("moved"))
    assert same(read(moved), first)
    assert len(decoded) == 16


CHANGES: dict[str, Callable[[Path], object]] = {
    "edited": lambda folder: touch_again(
        folder / "cat" / "0.png", (folder / "eel" / "0.png").read_bytes()
    ),
    "added": lambda folder: write(folder / "cat" / "new.png"),
    "removed": lambda folder: (folder / "cat" / "0.png").unlink(),
    "renamed": lambda folder: (folder / "cat" / "0.png").rename(folder / "cat" / "9.png"),
    "swapped": lambda folder: [
        (folder / a).rename(folder / b) for a, b in (("cat", "x"), ("dog", "cat"), ("x", "dog"))
    ],
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_folder_is_decoded_again(
    change: Callable[[Path], object], folder: Path, decoded: list[str]
) -> None:
    read(folder)
    change(folder)
    decoded.clear()
    changed = read(folder)
    assert len(decoded) == len(list(folder.glob("*/*.png")))
    assert same(changed, read(folder, cache=False))
    assert len(list((folder / ".gmlight").iterdir())) == 1


@pytest.mark.parametrize(
    "option", [{"size": [6, 4]}, {"channels": 1}, {"fit": "pad"}, {"background": "black"}], ids=str
)
def test_each_form_is_kept_for_itself(option: dict[str, object], folder: Path, decoded: list[str]) -> None:
    read(folder)
    read(folder, **option)
    assert len(decoded) == 30
    read(folder)
    read(folder, **option)
    assert len(decoded) == 30


@pytest.mark.parametrize("version", ["gmlight.data.pixel_cache.VERSION", "PIL.__version__"])
def test_another_version_decodes_again(
    version: str, folder: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read(folder)
    monkeypatch.setattr(version, "0.0.0")
    read(folder)
    assert len(decoded) == 30


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "other"])
def test_damaged_pixels_are_decoded_again(damage: str, folder: Path, decoded: list[str]) -> None:
    first = read(folder)
    kept = next((folder / ".gmlight").iterdir())
    content = kept.read_bytes()
    flipped = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
    kept.write_bytes(
        {"truncated": content[:-9], "flipped": flipped, "empty": b"", "other": b"x" * 99}[damage]
    )
    assert same(read(folder), first)
    assert len(decoded) == 30
    read(folder)
    assert len(decoded) == 30  # kept anew


def test_unreadable_images_are_kept_in_mind(folder: Path, decoded: list[str]) -> None:
    (folder / "cat" / "x.png").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"cat/x.png \(empty\)"):
        read(folder)
    train, _, notes = read(folder, skip_unreadable=True)
    assert (len(decoded), len(train[1]), notes) == (
        16,
        12,
        ["passed over: 1 images that cannot be read: cat/x.png"],
    )


def test_a_folder_that_cannot_be_written_is_kept_elsewhere(
    folder: Path, tmp_path: Path, decoded: list[str]
) -> None:
    (folder / ".gmlight").write_text("in the way")
    read(folder)
    assert len(list((tmp_path / "cache" / "gmlight").rglob("*.safetensors"))) == 1
    read(folder)
    assert len(decoded) == 15


def test_pixels_behind_a_pipe_or_a_link_are_not_touched(
    folder: Path, tmp_path: Path, decoded: list[str]
) -> None:
    """To open a pipe would wait for ever; a link leads out of the folder."""
    read(folder)
    kept = next((folder / ".gmlight").iterdir())
    kept.unlink()
    os.mkfifo(kept)
    read(folder)
    assert len(decoded) == 30
    kept.unlink(missing_ok=True)
    for place in (tmp_path / "cache").rglob("*.safetensors"):
        place.unlink()
    (folder / ".gmlight").rmdir()
    (tmp_path / "mine").mkdir()
    (folder / ".gmlight").symlink_to(tmp_path / "mine")
    read(folder)
    assert len(decoded) == 45
    assert not list((tmp_path / "mine").iterdir())


def test_a_full_disk_keeps_nothing(
    folder: Path, tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        Path(str(args[1])).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gmlight.data.pixel_cache.save_file", fail)
    train, *_ = read(folder)
    assert len(train[1]) == 12
    assert not [path for place in (folder / ".gmlight", tmp_path / "cache") for path in place.rglob("*.*")]


def test_small_folders_and_other_ranks_keep_nothing(
    folder: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "is_main", lambda: False)
    read(folder)
    monkeypatch.setattr(decoding, "is_main", lambda: True)
    read(folder, cache=False)
    monkeypatch.setattr(decoding, "MOST_UNCACHED", 15)
    read(folder)
    assert len(decoded) == 45
    assert not (folder / ".gmlight").exists()


def test_a_folder_cannot_bring_pixels_of_its_own(folder: Path, decoded: list[str]) -> None:
    # Whoever packs a folder can forge what is kept, but for the time of its unpacking.
    paths = sorted(str(path) for path in folder.glob("*/*.png"))
    form = decoding.PictureForm((4, 6), 3)
    PixelCache(paths, folder, form).store(
        decoding.Decoded(torch.zeros(15, 3, 4, 6).byte(), list(range(15)), {})
    )
    assert read(folder)[0][0].max() == 0  # forged
    for path in paths:
        touch_again(Path(path), Path(path).read_bytes())  # unpacked
    assert read(folder)[0][0].max() > 0
