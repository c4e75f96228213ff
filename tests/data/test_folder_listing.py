"""Which folders and files of an image folder are read. Names alone decide: no file here is a picture."""

import os
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from gmlight.data.folder_listing import list_folder
from gmlight.errors import ConfigError

TWO = ["cat/1.jpg", "cat/2.jpg", "dog/3.jpg"]


def make(root: Path, files: Iterable[str]) -> str:
    for name in files:
        path = root / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.touch()
    return str(root)


def listed(root: Path, **options: list[object]) -> tuple[tuple[str, ...], list[list[tuple[str, int]]]]:
    files = list_folder(str(root), *options.values())
    return files.classes, [[(os.path.relpath(path, root), c) for path, c in part] for part in files.parts]


def passed_over(root: Path) -> list[str]:
    lines = list_folder(str(root)).passed_over.lines(root)
    assert all(line.startswith("passed over: ") for line in lines)
    return [line.removeprefix("passed over: ") for line in lines]


def test_classes_are_in_alphabetical_order_and_files_sorted_by_folder(tmp_path: Path) -> None:
    make(tmp_path, ["dog/b.jpg", "dog/a-b/1.jpg", "dog/a/2.jpg", "cat/x.jpg", "Eel/x"])
    assert listed(tmp_path) == (
        ("Eel", "cat", "dog"),
        [[("Eel/x", 0), ("cat/x.jpg", 1), ("dog/a/2.jpg", 2), ("dog/a-b/1.jpg", 2), ("dog/b.jpg", 2)]],
    )


@pytest.mark.parametrize("train", ["train", "Train", "TRAINING"])
@pytest.mark.parametrize("test", ["test", "Test", "Testing", "val", "VALID", "validation"])
def test_parts_are_known_by_their_names(train: str, test: str, tmp_path: Path) -> None:
    make(tmp_path, [f"{train}/{name}" for name in TWO] + [f"{test}/{name}" for name in TWO[1:]])
    assert listed(tmp_path) == (
        ("cat", "dog"),
        [
            [(f"{train}/cat/1.jpg", 0), (f"{train}/cat/2.jpg", 0), (f"{train}/dog/3.jpg", 1)],
            [(f"{test}/cat/2.jpg", 0), (f"{test}/dog/3.jpg", 1)],
        ],
    )


def test_train_alone_is_a_folder_without_parts(tmp_path: Path) -> None:
    make(tmp_path, [f"Train/{name}" for name in TWO])
    assert listed(tmp_path)[1] == [[("Train/cat/1.jpg", 0), ("Train/cat/2.jpg", 0), ("Train/dog/3.jpg", 1)]]


def test_test_is_tested_and_not_val(tmp_path: Path) -> None:
    make(tmp_path, [f"{part}/{name}" for part in ("train", "test", "val") for name in TWO])
    assert {path.split("/")[0] for path, _ in listed(tmp_path)[1][1]} == {"test"}
    assert passed_over(tmp_path) == ["1 part that is not used, because test/ is tested: val"]


HIDDEN = [
    ".ipynb_checkpoints", ".DS_Store", "._1.jpg", "@eaDir", "@Recycle", "__MACOSX", "Thumbs.db",
    "desktop.ini", "$RECYCLE.BIN", ".gmlight.jpg",
]  # fmt: skip


@pytest.mark.parametrize("name", HIDDEN)
@pytest.mark.parametrize("inside", ["", "/1.jpg"])
def test_hidden_entries_are_ignored_at_every_level(name: str, inside: str, tmp_path: Path) -> None:
    files = [*(f"train/{file}" for file in [*TWO, "cat/deep/4.jpg"]), *(f"test/{file}" for file in TWO)]
    make(tmp_path, files)
    before = listed(tmp_path)
    places = [f"{name}", f"train/{name}", f"train/cat/{name}", f"test/dog/{name}", f"train/cat/deep/{name}"]
    make(tmp_path, [place + inside for place in places])
    assert listed(tmp_path) == before
    assert passed_over(tmp_path)[0].startswith("5 hidden or system entries: ")
    assert set(passed_over(tmp_path)[0].split(": ")[1].split(", ")) == set(places)


def test_an_empty_hidden_folder_is_no_class(tmp_path: Path) -> None:
    make(tmp_path, [*TWO, ".cache/"])
    assert listed(tmp_path)[0] == ("cat", "dog")


def test_own_cache_is_not_mentioned(tmp_path: Path) -> None:
    make(tmp_path, [*TWO, ".gmlight/x.safetensors"])
    assert passed_over(tmp_path) == []


def test_what_lies_beside_the_classes_is_said(tmp_path: Path) -> None:
    make(tmp_path, ["readme.md", "extra/notes.txt", "train/labels.csv", *(f"train/{name}" for name in TWO)])
    assert passed_over(tmp_path) == [
        "2 entries beside the parts: extra, readme.md",
        "1 files beside the class folders: train/labels.csv",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "it's",
        '"q"',
        "<b>",
        "${oc.env:HOME}",
        "???",
        "{x}",
        "犬",
        "кот",
        "a,b=c",
        "x" * 120,
        "no",
        "1e3",
        "x.png",
    ],
)
def test_class_names_are_taken_as_they_are(name: str, tmp_path: Path) -> None:
    make(tmp_path, [f"{name}/1.jpg", "cat/1.jpg"])
    assert sorted(listed(tmp_path)[0]) == sorted([name, "cat"])


REFUSED: dict[str, tuple[list[str], str]] = {
    "flat test": (
        [*(f"train/{name}" for name in TWO), "test/1.jpg", "test/2.jpg"],
        "/test: 2 files and no class folders there; sort them into class folders, or move .*/test away",
    ),
    "flat val": ([*(f"train/{name}" for name in TWO), "Val/1.jpg"], "/Val: 1 files and no class folders"),
    "empty test": ([*(f"train/{name}" for name in TWO), "test/"], "/test: 0 files and no class folders"),
    "no train": ([f"test/{name}" for name in TWO], r"has test/ but no train/; put the training images into"),
    "classes beside test": ([*TWO, "Testing/x.jpg"], "has Testing/ but no train/"),
    "classes beside train": ([*TWO, "train/x/1", "train/y/1"], "cat: holds images, but .*/train beside it"),
    "part twice": ([f"{part}/{name}" for part in ("train", "Train") for name in TWO], "both the train part"),
    "val twice": (
        [f"{part}/{name}" for part in ("train", "val", "valid") for name in TWO],
        "val and .*valid are both the val part",
    ),
    "wrapped": ([f"photos/{name}" for name in TWO], "cat, dog are in .*/photos: use dataset.root=.*/photos$"),
    "wrapped twice": (
        [f"a/b/{name}" for name in TWO],
        "1 class folder there; at least 2 are needed; cat, dog are in .*/a/b: use dataset.root=.*/a/b$",
    ),
    "wrapped in a zip": ([*(f"a/{name}" for name in TWO), "__MACOSX/a/x"], "use dataset.root=.*/a$"),
    "wrapped parts": (
        [f"a/{part}/{name}" for part in ("train", "test") for name in TWO],
        "test, train are in .*/a: use dataset.root=.*/a$",
    ),
    "wrapped train": ([f"train/a/{name}" for name in TWO], "cat, dog are in .*/train/a: move them into"),
    "one class": (["cat/1.jpg", "cat/2.jpg"], "1 class folder there; at least 2 are needed$"),
    "flat": (["1.jpg", "2.jpg"], "0 class folders there.*; sort the images into .*/<class>/"),
    "flat train": (["train/1.jpg", "test/2.jpg"], "/train: 0 class folders there"),
    "nothing": ([], "0 class folders there; at least 2 are needed$"),
    "parts of each class": (
        [f"{name}/{part}/1.jpg" for name in ("cat", "dog") for part in ("train", "test")],
        "cat and .*/dog both hold a folder 'test', beside others: .* one level up",
    ),
    "parts of each class by other names": (
        ["cat/train/1.jpg", "cat/Test/1.jpg", "dog/Training/1.jpg", "dog/testing/1.jpg"],
        "both hold a folder 'test'",
    ),
    "parts by other names": (
        [f"seg_{part}/seg_{part}/{name}/1.jpg" for part in ("a", "b", "c") for name in ("sea", "wood")],
        "both hold a folder 'sea'",
    ),
    "shared by some": (["a/x/1.jpg", "a/y/1.jpg", "b/x/1.jpg", "c/1.jpg"], "both hold a folder 'x'"),
    "train_images": (["train_images/1.jpg", "test_images/2.jpg"], "look like parts, not classes; rename"),
    "TrainSet": (["TrainSet/1.jpg", "cat/1.jpg", "ValSet/2.jpg"], "look like parts"),
    "train2017": (["train2017/1.jpg", "val2017/2.jpg"], "look like parts"),
    "other classes": (
        ["train/a/1", "train/b/1", "train/c/1", "test/a/1", "test/b/1", "test/d/1"],
        "in the train part only: class 'c'; make train and test equal",
    ),
    "more classes in test": (
        ["train/a/1", "train/b/1", "test/a/1", "test/b/1", "test/d/1"],
        "in the test part only: class 'd'",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("files", "message"), REFUSED.values(), ids=REFUSED)
def test_folders_that_are_not_clearly_classes_are_refused(
    files: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        list_folder(make(tmp_path, files))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "files",
    [
        ["a/images/1.jpg", "b/images/1.jpg", "b/boxes.txt"],  # as in Tiny ImageNet
        ["a/x/1.jpg", "a/y/1.jpg", "b/1.jpg", "c/z/1.jpg"],
        ["a/images/1.jpg", "a/labels/1.txt", "b/images/1.jpg", "b/labels/1.txt"],
        ["train station/1.jpg", "cat/1.jpg"],
    ],
)
def test_subfolders_that_say_nothing_are_read(files: list[str], tmp_path: Path) -> None:
    make(tmp_path, files)
    assert sum(map(len, listed(tmp_path)[1])) == len(files)


def test_chosen_classes_in_their_order(tmp_path: Path) -> None:
    make(
        tmp_path,
        ["train/a/1", "train/7/1", "train/true/1", "train/x/1", "test/a/1", "test/7/1", "test/true/1"],
    )
    classes, parts = listed(tmp_path, classes=[True, "a", 7])  # as the command line reads them
    assert classes == ("true", "a", "7")
    assert parts[1] == [("test/true/1", 0), ("test/a/1", 1), ("test/7/1", 2)]
    lines = list_folder(str(tmp_path), ["a", "7"]).passed_over.lines(tmp_path)
    assert lines == [
        "passed over: 3 class folders that are not in dataset.classes: test/true, train/true, train/x"
    ]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (["cat", "dgo"], "has no class 'dgo'; did you mean 'dog'?"),
        (["cat", "zebra"], "has no class 'zebra'; there are cat, dog"),
        (["cat", "cat"], "must be at least 2 classes, each once"),
        (["cat"], "must be at least 2 classes"),
        ("cat", "must be at least 2 classes"),
    ],
)
def test_wrong_choices_of_classes_are_refused(chosen: list[object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        list_folder(make(tmp_path, TWO), chosen)


def test_linked_classes_folders_and_files_are_followed(tmp_path: Path) -> None:
    store = tmp_path / "store"
    make(store, ["c/1.jpg", "more/2.jpg", "3.jpg"])
    root = tmp_path / "root"
    make(root, ["dog/4.jpg"])
    (root / "cat").symlink_to(store / "c")
    (root / "dog" / "more").symlink_to(store / "more")
    (root / "dog" / "5.jpg").symlink_to(store / "3.jpg")
    files = [("cat/1.jpg", 0), ("dog/4.jpg", 1), ("dog/5.jpg", 1), ("dog/more/2.jpg", 1)]
    assert listed(root) == (("cat", "dog"), [files])


@pytest.mark.parametrize("target", [".", "..", "../dog", "inner", "../cat/inner"])
def test_links_that_lead_in_circles_or_into_another_class_are_passed_over(
    target: str, tmp_path: Path
) -> None:
    make(tmp_path, [*TWO, "cat/inner/9.jpg"])
    (tmp_path / "cat" / "z").symlink_to(target)
    assert listed(tmp_path)[1] == [
        [("cat/1.jpg", 0), ("cat/2.jpg", 0), ("cat/inner/9.jpg", 0), ("dog/3.jpg", 1)]
    ]
    assert passed_over(tmp_path) == ["1 links to a folder that is read already: cat/z"]


@pytest.mark.parametrize(
    ("link", "target", "message"),
    [
        ("elk", "cat", "cat and .*/elk are the same folder; remove one"),
        ("elk", ".", "elk are the same folder"),
        ("test", "train", "train and .*/test are the same folder"),
        ("train/elk", "dog", "dog and .*/elk are the same folder"),
    ],
)  # fmt: skip
def test_one_folder_under_two_names_is_refused(link: str, target: str, message: str, tmp_path: Path) -> None:
    make(tmp_path, [f"train/{name}" for name in TWO] if "t" in link else TWO)
    (tmp_path / link).symlink_to(target)
    with pytest.raises(ConfigError, match=message):
        list_folder(str(tmp_path))


def test_a_wrapper_that_is_a_circle_of_links_ends(tmp_path: Path) -> None:
    make(tmp_path, ["a/"])
    (tmp_path / "a" / "b").symlink_to("..")
    with pytest.raises(ConfigError, match="1 class folder there"):
        list_folder(str(tmp_path))


def pipe(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    os.chdir(path.parent)  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)


def link_to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("special", [pipe, unix_socket, link_to_device])
def test_pipes_sockets_and_devices_are_not_read(
    special: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path, TWO)
    before = listed(tmp_path)
    special(tmp_path / "cat" / "x.png")
    assert listed(tmp_path) == before
    assert passed_over(tmp_path) == ["1 pipes, sockets or devices: cat/x.png"]


def test_a_folder_with_the_name_of_an_image_is_a_folder(tmp_path: Path) -> None:
    make(tmp_path, [*TWO, "cat/x.png/7.jpg", "cat/y.png/"])
    assert ("cat/x.png/7.jpg", 0) in listed(tmp_path)[1][0]
    assert sum(map(len, listed(tmp_path)[1])) == 4


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    make(tmp_path, TWO)
    odd = os.fsdecode(b"caf\xe9.jpg")
    (tmp_path / "cat" / odd).touch()
    assert (f"cat/{odd}", 0) in listed(tmp_path)[1][0]
    (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    with pytest.raises(
        ConfigError, match=r"the class folder caf\\xe9 has a name that is not UTF-8; rename it"
    ):
        list_folder(str(tmp_path))


def test_control_characters_in_names_are_escaped(tmp_path: Path) -> None:
    make(tmp_path, [*TWO, ".a\nb\x1b[31m"])
    assert passed_over(tmp_path) == [r"1 hidden or system entries: .a\nb\x1b[31m"]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, TWO)
    scandir = os.scandir

    def forbidding(path: str) -> object:
        if path.endswith("dog"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr("os.scandir", forbidding)
    with pytest.raises(
        ConfigError, match=r"/dog: cannot be read \(Permission denied\); change its permissions"
    ):
        list_folder(str(tmp_path))


ONE, TWO_CHARACTERS = "caf\u00e9", "cafe\u0301"  # as Linux and as macOS write it


def test_names_that_only_look_the_same_are_refused(tmp_path: Path) -> None:
    line = "look the same, but their letters are composed differently; give them one name"
    make(tmp_path / "parts", [f"train/{name}/1.jpg" for name in (ONE, "tea")])
    make(tmp_path / "parts", [f"test/{name}/1.jpg" for name in (TWO_CHARACTERS, "tea")])
    make(tmp_path / "classes", [f"{name}/1.jpg" for name in (ONE, TWO_CHARACTERS)])
    for folder in ("parts", "classes"):
        with pytest.raises(ConfigError, match=line):
            list_folder(str(tmp_path / folder))


def test_a_class_is_chosen_however_its_letters_are_composed(tmp_path: Path) -> None:
    make(tmp_path, [f"{name}/1.jpg" for name in (TWO_CHARACTERS, "tea", "milk")])
    assert list_folder(str(tmp_path), [ONE, "tea"]).classes == (TWO_CHARACTERS, "tea")


@pytest.mark.parametrize("chosen", [10, 1.5, True, {"a": 1}])
def test_a_choice_that_is_no_list_is_refused(chosen: object, tmp_path: Path) -> None:
    make(tmp_path, TWO)
    with pytest.raises(
        ConfigError, match=r"^dataset.classes=.*: must be a list of names, dataset.classes=\[a,b\]$"
    ):
        list_folder(str(tmp_path), chosen)  # type: ignore[arg-type]
