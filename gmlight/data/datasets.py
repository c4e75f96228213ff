"""Datasets as they lie on disk, read into tensors.

A loader is called with the data folder and whether it may download, and returns the train and the test split,
each as images uint8 [N, channels, H, W] and labels int64 [N]. Where the configuration does not name the
classes, a second function does.
"""

import functools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.datasets.folder import IMG_EXTENSIONS

from gmlight.errors import ConfigError

Splits = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]


def digits(root: str, download: bool, *, test_share: float, split_seed: int) -> Splits:
    """scikit-learn's 1,797 handwritten digits, 8x8, in a fixed stratified split into train and test.

    They come with the installation: root and download play no part.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(bunch.images * (255 / 16)).round().to(torch.uint8).unsqueeze(1)
    labels = torch.from_numpy(bunch.target).long()
    return stratified(images, labels, test_share, split_seed)


def stratified(images: Tensor, labels: Tensor, test_share: float, seed: int) -> Splits:
    """Train and test splits in which the classes have the same shares.

    Raises:
        ConfigError: a class has too few images.
    """
    from sklearn.model_selection import train_test_split

    try:
        train, test = train_test_split(
            np.arange(len(labels)), test_size=test_share, stratify=labels.numpy(), random_state=seed
        )
    except ValueError as error:
        fewest = int(labels.bincount().min())
        raise ConfigError(
            f"the images cannot be split, the smallest class has {fewest} ({_first_line(error)}); "
            "make train/ and test/ folders, or add images"
        ) from None
    return (images[train], labels[train]), (images[test], labels[test])


def made_up(
    root: str, download: bool, *, number: int, images: int, size: Sequence[int], channels: int
) -> Splits:
    """Noise, so many images of each of so many classes in either split: to measure time and memory with."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(number).repeat_interleave(images)
    train, test = (
        torch.randint(256, (len(labels), channels, *size), generator=rng, dtype=torch.uint8) for _ in range(2)
    )
    return (train, labels), (test, labels)


def made_up_classes(root: str | None, *, number: int) -> list[str]:
    """Their numbers."""
    return [str(c) for c in range(number)]


def torchvision_splits(
    root: str,
    download: bool,
    *,
    dataset: Callable[..., Dataset],
    train: Mapping[str, Any],
    test: Mapping[str, Any],
    files: str,
) -> Splits:
    """The two splits of a torchvision dataset, looked for in `root`, else downloaded to it.

    Args:
        root: the data folder.
        download: whether to fetch what is not there.
        dataset: the torchvision class.
        train, test: the keywords that choose the split.
        files: where the files lie under `root`, for the message when they are missing.
    """
    train_split, test_split = (_read(dataset, root, split, files, download) for split in (train, test))
    return train_split, test_split


def _read(
    dataset: Callable[..., Dataset], root: str, split: Mapping[str, Any], files: str, download: bool
) -> tuple[Tensor, Tensor]:
    place = f"{Path(root).resolve()}/{files}"
    wanted = f"looked for {place}; put the files there or set data_dir to the folder that holds them"
    name = getattr(dataset, "__name__", str(dataset))
    try:
        return _to_tensors(dataset(root, **split, download=False))
    except (RuntimeError, OSError, EOFError, ValueError, AssertionError) as error:
        if "not found" not in str(error):  # torchvision's word for absent
            damage = f"{name} is damaged ({_first_line(error)})"
            raise ConfigError(f"{damage}: delete {place} and fetch it again") from None
    if not download:
        raise ConfigError(f"{name} is absent or incomplete: {wanted}")
    try:
        return _to_tensors(dataset(root, **split, download=True))
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"{name} is absent and cannot be downloaded ({_first_line(error)}): {wanted}"
        ) from None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def image_folder(
    root: str | None,
    download: bool,
    *,
    size: Sequence[int],
    channels: int,
    test_share: float,
    split_seed: int,
) -> Splits:
    """One's own images: `train/<class>/*` and `test/<class>/*`, or `<class>/*` with a stratified split.

    Args:
        root: the folder. download: plays no part.
        size: [H, W] to which every image is resized.
        channels: 1 (grey) or 3 (colour), to which every image is brought.
        test_share: of the images of each class, where there is no test folder. split_seed: which ones.
    """
    top = _own_folder(root)
    read = functools.partial(_read_folder, size=size, channels=channels)
    if not (top / "train").is_dir():
        images, labels = read(top)
        return stratified(images, labels, test_share, split_seed)
    classes = [_class_folders(top / part) for part in ("train", "test")]
    unknown = sorted(set(classes[0]) ^ set(classes[1]))
    if unknown:
        raise ConfigError(f"{top}: class {unknown[0]!r} is in one of train and test only; make them equal")
    return read(top / "train"), read(top / "test")


def image_folder_classes(root: str | None) -> list[str]:
    """The class names of `image_folder`: its class folders in alphabetical order."""
    top = _own_folder(root)
    return _class_folders(top / "train" if (top / "train").is_dir() else top)


def tiny_imagenet(root: str, download: bool, *, size: Sequence[int]) -> Splits:
    """The standard `tiny-imagenet-200` folder; its validation part is the test split."""
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
        damage = f"{top} is incomplete ({_first_line(error)})"
        raise ConfigError(f"{damage}: unpack tiny-imagenet-200.zip again") from None
    if not train or not val:
        raise ConfigError(f"{top} is incomplete (no images): unpack tiny-imagenet-200.zip again")
    return _read_images(train, size=size, channels=3), _read_images(val, size=size, channels=3)


def tiny_imagenet_classes(root: str) -> list[str]:
    """The WordNet ids of `wnids.txt`, in its order."""
    return (_tiny_imagenet_folder(root) / "wnids.txt").read_text().split()


def _tiny_imagenet_folder(root: str) -> Path:
    top = Path(root).resolve() / "tiny-imagenet-200"
    if not (top / "wnids.txt").is_file():
        raise ConfigError(
            f"Tiny ImageNet is absent: looked for {top}; unpack tiny-imagenet-200.zip there or set data_dir"
        )
    return top


def _own_folder(root: str | None) -> Path:
    if root is None:
        raise ConfigError("dataset=image_folder: name the folder of your images by dataset.root=")
    if not Path(root).is_dir():
        raise ConfigError(f"dataset.root={root}: no such folder; name the one that holds train/ and test/")
    return Path(root)


def _class_folders(folder: Path) -> list[str]:
    try:
        classes = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read ({error.strerror}); mend its permissions") from None
    if len(classes) < 2:
        raise ConfigError(f"{folder}: {len(classes)} class folders there; at least 2 are needed")
    return classes


def _read_folder(folder: Path, *, size: Sequence[int], channels: int) -> tuple[Tensor, Tensor]:
    files = []
    for label, name in enumerate(_class_folders(folder)):
        paths = sorted(path for path in (folder / name).rglob("*") if path.suffix.lower() in IMG_EXTENSIONS)
        if not paths:
            raise ConfigError(f"{folder / name}: no images there; remove the class or add images")
        files += [(path, label) for path in paths]
    return _read_images(files, size=size, channels=channels)


def _read_images(
    files: Sequence[tuple[Path, int]], *, size: Sequence[int], channels: int
) -> tuple[Tensor, Tensor]:
    images = _room_for(len(files), channels, *size)
    for i, (path, _) in enumerate(files):
        try:
            with Image.open(path) as picture:
                if picture.mode.startswith(("I", "F")):
                    raise ValueError(f"mode {picture.mode}, more than 8 bits a channel")
                fitting = ImageOps.exif_transpose(picture).convert("L" if channels == 1 else "RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise ConfigError(f"{path}: cannot be read ({_first_line(error)}); mend or remove it") from None
        if fitting.size != (size[1], size[0]):
            fitting = fitting.resize((size[1], size[0]), Image.Resampling.BICUBIC)
        images[i] = _pixels(fitting)
    return images, torch.tensor([label for _, label in files], dtype=torch.long)


def _to_tensors(dataset: Any) -> tuple[Tensor, Tensor]:
    first = _pixels(dataset[0][0])
    images, labels = _room_for(len(dataset), *first.shape), torch.empty(len(dataset), dtype=torch.long)
    for i in range(len(dataset)):
        picture, labels[i] = dataset[i]
        images[i] = _pixels(picture)
    return images, labels


def _pixels(picture: Image.Image) -> Tensor:
    pixels = torch.from_numpy(np.array(picture))  # [H, W] or [H, W, channels]
    return pixels.unsqueeze(0) if pixels.ndim == 2 else pixels.permute(2, 0, 1)


def _room_for(count: int, *shape: int) -> Tensor:
    # Refused before it is filled: a machine out of memory kills without a word.
    needed = 2 * count * math.prod(shape)  # they are copied once, sorted by class
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise ConfigError(
            f"{count} images of {shape} need {needed / 2**30:.1f} GiB, "
            f"this machine has {memory / 2**30:.1f}; use smaller images (dataset.size) or fewer"
        )
    return torch.empty(count, *shape, dtype=torch.uint8)
