"""Loaders of image files in class folders, with the interface of `gmlight.data.datasets`."""

from collections.abc import Sequence
from pathlib import Path

from gmlight.data.class_choice import choose_names
from gmlight.data.decoding import read_parts
from gmlight.data.folder_listing import Files, FolderFiles, list_folder
from gmlight.data.pictures import PictureForm
from gmlight.data.splits import NotedSplits, first_line, stratified
from gmlight.data.walk import Walk
from gmlight.errors import ConfigError
from gmlight.runtime.answers import answers


# Configurations of earlier versions lack the keys that have a default here.
@answers(chooses_classes=True)
def image_folder(
    root: str | None,
    download: bool,
    *,
    size: Sequence[int],
    channels: int,
    test_share: float,
    split_seed: int,
    classes: Sequence[object] | None = None,
    fit: str = "squash",
    background: str = "white",
    skip_unreadable: bool = False,
    cache: bool = True,
) -> NotedSplits:
    """Reads `train/<class>/**` and `test/<class>/**`, or `<class>/**` with a stratified split.

    Args:
        root: the folder.
        download: ignored.
        size: [H, W] of every image.
        channels: 1 (grey) or 3 (colour), to which every image is converted.
        test_share: share of each class's images in the test split, if there is no test part.
        split_seed: seed of that split.
        classes: classes to read, in the order of the labels; None: all, in alphabetical order.
        fit: how an image gets the size: `squash`, `crop` or `pad`.
        background: colour under transparent pixels and of the padding.
        skip_unreadable: whether to pass over images that cannot be read.
        cache: whether to keep the pixels of large folders for later runs.

    Returns:
        Train and test split, and lines about what was passed over.

    Raises:
        ConfigError: the folder is absent, its folders are not clearly classes, a class has no images, or an
            image cannot be read.
    """
    form = PictureForm((size[0], size[1]), channels, fit, background)
    files = list_folder(root, classes)
    splits = read_parts(files, form, skip_unreadable=skip_unreadable, cache=cache)
    notes = files.passed_over.lines(files.root)
    if len(splits) == 2:
        return splits[0], splits[1], notes
    return *stratified(*splits[0], test_share, split_seed, files.classes), notes


@answers(chooses_classes=True)
def image_folder_classes(root: str | None, *, classes: Sequence[object] | None = None) -> list[str]:
    """Returns the class names of `image_folder`.

    Args:
        root: the folder.
        classes: classes to read, in the order of the labels; None: all, in alphabetical order.
    """
    return list(list_folder(root, classes).classes)


@answers(chooses_classes=True)
def tiny_imagenet(
    root: str,
    download: bool,
    *,
    size: Sequence[int],
    classes: Sequence[object] | None = None,
    skip_unreadable: bool = False,
    cache: bool = True,
) -> NotedSplits:
    """Reads the standard `tiny-imagenet-200` folder; its validation part is the test split.

    The validation images are in `val/images`, with their classes in `val/val_annotations.txt`; or they are in
    `val/<class>`.

    Args:
        root: the folder that contains `tiny-imagenet-200`.
        download: ignored.
        size: [H, W] of every image.
        classes: WordNet ids to read, in the order of the labels; None: all.
        skip_unreadable: whether to pass over images that cannot be read.
        cache: whether to keep the pixels for later runs.

    Returns:
        Train and test split, and lines about what was passed over.

    Raises:
        ConfigError: the folder is absent or incomplete.
    """
    top, walk = _tiny_imagenet_folder(root), Walk()
    names = tiny_imagenet_classes(root, classes=classes)
    try:
        train = _files_by_class(top / "train", names, walk)
        flat = (top / "val" / "images").is_dir()
        val = _annotated_files(top / "val", names) if flat else _files_by_class(top / "val", names, walk)
    except (OSError, KeyError, ValueError) as error:
        damage = f"{top} is incomplete ({first_line(error)})"
        raise ConfigError(f"{damage}: unpack tiny-imagenet-200.zip again") from None
    if not train or not val:
        raise ConfigError(f"{top} is incomplete (no images): unpack tiny-imagenet-200.zip again")
    files = FolderFiles(top, tuple(names), (train, val), walk.passed_over)
    splits = read_parts(
        files, PictureForm((size[0], size[1]), 3), skip_unreadable=skip_unreadable, cache=cache
    )
    return splits[0], splits[1], walk.passed_over.lines(top)


@answers(chooses_classes=True)
def tiny_imagenet_classes(root: str, *, classes: Sequence[object] | None = None) -> list[str]:
    """Returns the WordNet ids in `wnids.txt`, in its order.

    Args:
        root: the folder that contains `tiny-imagenet-200`.
        classes: WordNet ids to read instead, in the order of the labels; None: all.
    """
    top = _tiny_imagenet_folder(root)
    names = (top / "wnids.txt").read_text().split()
    return choose_names(names, classes, top)


def _tiny_imagenet_folder(root: str) -> Path:
    top = Path(root).resolve() / "tiny-imagenet-200"
    if not (top / "wnids.txt").is_file():
        raise ConfigError(
            f"Tiny ImageNet is absent: looked for {top}; unpack tiny-imagenet-200.zip there or set data_dir"
        )
    return top


def _files_by_class(part: Path, classes: Sequence[str], walk: Walk) -> Files:
    if missing := [name for name in classes if not (part / name).is_dir()]:
        raise OSError(f"no folder {part.name}/{missing[0]}")
    return [(path, c) for c, name in enumerate(classes) for path in walk.files(str(part / name))]


def _annotated_files(part: Path, classes: Sequence[str]) -> Files:
    labels = dict.fromkeys((part.parent / "wnids.txt").read_text().split(), -1)  # -1: not chosen
    labels |= {name: label for label, name in enumerate(classes)}
    rows = [line.split("\t") for line in (part / "val_annotations.txt").read_text().splitlines()]
    files = [(str(part / "images" / name), labels[wnid]) for name, wnid, *_ in rows]
    return [(path, label) for path, label in files if label >= 0]
