"""Lists the files of an image folder by part and class; opens none of them."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gmlight.data.class_choice import check_subfolders, choose_classes
from gmlight.data.names import PARTS, PassedOver, has_picture_suffix, name_some, part_of, printable
from gmlight.data.walk import Walk, only_folder_below
from gmlight.errors import ConfigError

Files = list[tuple[str, int]]  # (path, label)


@dataclass(frozen=True)
class FolderFiles:
    """The files of an image folder.

    Args:
        root: the folder.
        classes: class names, in the order of the labels.
        parts: the files of the train and the test part, each as (path, label); of all images if there is no
            test part.
        passed_over: what is not read.
    """

    root: Path
    classes: tuple[str, ...]
    parts: tuple[Files, ...]
    passed_over: PassedOver


def list_folder(root: str | None, chosen: Sequence[object] | None = None) -> FolderFiles:
    """Lists `train/<class>/**` and `test/<class>/**`, or `<class>/**`.

    Args:
        root: the folder.
        chosen: names of the classes to list, in the order of the labels; None: all, in alphabetical order.

    Raises:
        ConfigError: the folder is absent, or its folders are not clearly classes.
    """
    top, walk = _checked_root(root), Walk()
    walk.enter(str(top))
    parts = _find_parts(top, walk)
    folders = [_class_folders(part, walk, is_root=part == str(top)) for part in parts]
    classes = choose_classes(folders, chosen, top)
    left_out = [part[name] for part in folders for name in part.keys() - set(classes)]
    walk.passed_over.add("class folders that are not in dataset.classes", sorted(left_out))
    for part in folders:
        for name in classes:
            walk.enter(part[name])
    files = [_part_files(part, classes, walk) for part in folders]
    return FolderFiles(top, tuple(classes), tuple(files), walk.passed_over)


def _part_files(folders: Mapping[str, str], classes: Sequence[str], walk: Walk) -> Files:
    of_classes = {name: walk.files(folders[name]) for name in classes}
    check_subfolders(folders, of_classes)
    return [(path, label) for label, name in enumerate(classes) for path in of_classes[name]]


def _checked_root(root: str | None) -> Path:
    if root is None:
        raise ConfigError("dataset=image_folder: name the folder of your images by dataset.root=")
    if not os.path.isdir(root):
        raise ConfigError(f"dataset.root={root}: no such folder; use the one that holds train/ and test/")
    return Path(root)


def _find_parts(top: Path, walk: Walk) -> list[str]:
    # Returns the folders of the train and the test part; or of the train part, or the root, alone.
    folders, files = walk.entries(str(top))
    parts: dict[str, str] = {}
    for folder in folders:
        part = part_of(Path(folder).name)
        if part in parts:
            raise ConfigError(
                f"{printable(parts[part])} and {printable(folder)} are both the {part} part; merge them"
            )
        if part is not None:
            parts[part] = folder
    others = [folder for folder in folders if folder not in parts.values()]
    if not parts:
        _check_not_parts(others)
        return [str(top)]
    if "train" not in parts:
        name = Path(next(iter(parts.values()))).name
        raise ConfigError(f"{top}: has {name}/ but no train/; put the training images into train/<class>/")
    _check_beside(others, parts["train"])
    walk.passed_over.add("entries beside the parts", others + files)
    if "test" in parts and "val" in parts:
        name = Path(parts["test"]).name
        walk.passed_over.add(f"part that is not used, because {name}/ is tested", [parts.pop("val")])
    return [parts[part] for part in ("train", "test", "val") if part in parts]


def _check_not_parts(folders: Sequence[str]) -> None:
    # Refuses folders such as train_images and test_images, which are parts under other names.
    found: dict[str, str] = {}
    for folder in folders:
        words = re.split(r"[^a-z]+", Path(folder).name.lower())
        stems = [re.sub(r"(set|data|images)$", "", word) for word in words]
        found |= {PARTS[stem]: folder for stem in stems if stem in PARTS}
    if "train" in found and len(found) > 1:
        other = found["test" if "test" in found else "val"]
        raise ConfigError(
            f"{printable(found['train'])} and {printable(other)} look like parts, not classes; rename them "
            "train and test, or put all class folders into a folder train"
        )


def _check_beside(folders: Sequence[str], train: str) -> None:
    for folder in folders:
        if any(map(has_picture_suffix, Walk().entries(folder)[1])):
            raise ConfigError(
                f"{printable(folder)}: holds images, but {printable(train)} beside it is the train part; "
                "move the folder away, or into the train part if it is a class"
            )


def _class_folders(part: str, walk: Walk, *, is_root: bool) -> dict[str, str]:
    # Returns the paths of the class folders in one part by name.
    folders, files = walk.entries(part)
    if not is_root:
        walk.enter(part)
    if len(folders) < 2:
        raise ConfigError(_too_few(part, folders, files, is_root=is_root))
    walk.passed_over.add("files beside the class folders", files)
    return {Path(folder).name: folder for folder in folders}


def _too_few(part: str, folders: Sequence[str], files: Sequence[str], *, is_root: bool) -> str:
    # Says what there is instead of class folders, and what to do.
    shown = printable(part)
    found = "1 class folder" if folders else "0 class folders"
    line = f"{shown}: {found} there; at least 2 are needed"
    if not folders and not is_root and part_of(Path(part).name) != "train":
        line = f"{shown}: {len(files)} files and no class folders there"
        return (
            f"{line}; sort them into class folders, or move {shown} away to test a share of the other images"
        )
    if not folders:
        return (
            f"{line}; sort the images into {shown}/<class>/" if any(map(has_picture_suffix, files)) else line
        )
    inner = only_folder_below(folders[0])
    below = [Path(folder).name for folder in Walk().entries(inner)[0]]
    if not below:
        return line
    place = f"{line}; {name_some(list(map(printable, below)))} are in {printable(inner)}"
    return f"{place}: use dataset.root={printable(inner)}" if is_root else f"{place}: move them into {shown}"
