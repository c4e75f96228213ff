"""Loaders of image files in class folders, with the interface of `gmlight.data.datasets`."""

import functools
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

from gmlight.data.splits import Splits, allocate, first_line, pixels, stratified
from gmlight.errors import ConfigError


def image_folder(
    root: str | None,
    download: bool,
    *,
    size: Sequence[int],
    channels: int,
    test_share: float,
    split_seed: int,
) -> Splits:
    """Reads `train/<class>/*` and `test/<class>/*`, or `<class>/*` with a stratified split.

    Args:
        root: the folder.
        download: ignored.
        size: [H, W] to which every image is resized.
        channels: 1 (grey) or 3 (colour), to which every image is converted.
        test_share: share of each class's images in the test split, if there is no test folder.
        split_seed: seed of that split.

    Raises:
        ConfigError: the folder is absent, a class is empty, or an image cannot be read.
    """
    top = _checked_root(root)
    read = functools.partial(_read_classes, size=size, channels=channels)
    if not (top / "train").is_dir():
        images, labels = read(top)
        return stratified(images, labels, test_share, split_seed)
    classes = [_class_folders(top / part) for part in ("train", "test")]
    unknown = sorted(set(classes[0]) ^ set(classes[1]))
    if unknown:
        raise ConfigError(f"{top}: class {unknown[0]!r} is in one of train and test only; make them equal")
    return read(top / "train"), read(top / "test")


def image_folder_classes(root: str | None) -> list[str]:
    """Returns the class names of `image_folder`: its class folders in alphabetical order."""
    top = _checked_root(root)
    return _class_folders(top / "train" if (top / "train").is_dir() else top)


def tiny_imagenet(root: str, download: bool, *, size: Sequence[int]) -> Splits:
    """Reads the standard `tiny-imagenet-200` folder; its validation part is the test split.

    Args:
        root: the folder that contains `tiny-imagenet-200`.
        download: ignored.
        size: [H, W] to which every image is resized.

    Raises:
        ConfigError: the folder is absent or incomplete.
    """
    top = _tiny_imagenet_folder(root)
    labels = {name: label for label, name in enumerate(tiny_imagenet_classes(root))}
    try:
        train = [(path, labels[path.parts[-3]]) for path in sorted((top / "train").glob("*/images/*.JPEG"))]
        annotations = (top / "val" / "val_annotations.txt").read_text().splitlines()
        val = [
            (top / "val" / "images" / name, labels[wnid])
            for name, wnid, *_ in (line.split("\t") for line in annotations)
        ]
    except (OSError, KeyError, ValueError) as error:
        damage = f"{top} is incomplete ({first_line(error)})"
        raise ConfigError(f"{damage}: unpack tiny-imagenet-200.zip again") from None
    if not train or not val:
        raise ConfigError(f"{top} is incomplete (no images): unpack tiny-imagenet-200.zip again")
    return _read_files(train, size=size, channels=3), _read_files(val, size=size, channels=3)


def tiny_imagenet_classes(root: str) -> list[str]:
    """Returns the WordNet ids in `wnids.txt`, in its order."""
    return (_tiny_imagenet_folder(root) / "wnids.txt").read_text().split()


def _tiny_imagenet_folder(root: str) -> Path:
    top = Path(root).resolve() / "tiny-imagenet-200"
    if not (top / "wnids.txt").is_file():
        raise ConfigError(
            f"Tiny ImageNet is absent: looked for {top}; unpack tiny-imagenet-200.zip there or set data_dir"
        )
    return top


def _checked_root(root: str | None) -> Path:
    if root is None:
        raise ConfigError("dataset=image_folder: name the folder of your images by dataset.root=")
    if not Path(root).is_dir():
        raise ConfigError(f"dataset.root={root}: no such folder; use the one that holds train/ and test/")
    return Path(root)


def _class_folders(folder: Path) -> list[str]:
    try:
        classes = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read ({error.strerror}); change its permissions") from None
    if len(classes) < 2:
        raise ConfigError(f"{folder}: {len(classes)} class folders there; at least 2 are needed")
    return classes


def _read_classes(folder: Path, *, size: Sequence[int], channels: int) -> tuple[Tensor, Tensor]:
    files = []
    for label, name in enumerate(_class_folders(folder)):
        paths = sorted(path for path in (folder / name).rglob("*") if path.suffix.lower() in IMG_EXTENSIONS)
        if not paths:
            raise ConfigError(f"{folder / name}: no images there; remove the class or add images")
        files += [(path, label) for path in paths]
    return _read_files(files, size=size, channels=channels)


def _read_files(
    files: Sequence[tuple[Path, int]], *, size: Sequence[int], channels: int
) -> tuple[Tensor, Tensor]:
    images = allocate(len(files), channels, *size)
    for i, (path, _) in enumerate(files):
        try:
            with Image.open(path) as picture:
                if picture.mode.startswith(("I", "F")):
                    raise ValueError(f"mode {picture.mode}, more than 8 bits a channel")
                converted = ImageOps.exif_transpose(picture).convert("L" if channels == 1 else "RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise ConfigError(f"{path}: cannot be read ({first_line(error)}); repair or remove it") from None
        if converted.size != (size[1], size[0]):
            converted = converted.resize((size[1], size[0]), Image.Resampling.BICUBIC)
        images[i] = pixels(converted)
    return images, torch.tensor([label for _, label in files], dtype=torch.long)
