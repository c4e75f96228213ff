"""Readers of condensed sets that are published as pictures: class folders, and Hugging Face datasets."""

import io
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from gmlight.artifacts.foreign_files import check_regular, largest_content, refuse_unreadable
from gmlight.artifacts.foreign_set import ForeignSet
from gmlight.artifacts.value_checks import is_whole
from gmlight.data.names import is_hidden, name_some, printable
from gmlight.data.pixels import picture_to_pixels
from gmlight.errors import ConfigError
from gmlight.runtime.console import format_bytes

_FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
_MOST_PIXELS = 2**22  # of a picture, before it is decoded
_LARGEST_PICTURE = 2**26  # bytes
_IMAGE_COLUMNS, _LABEL_COLUMNS = ("image", "img", "images"), ("label", "labels", "fine_label", "target")
TABLES = (".parquet", ".arrow")


class _Pictures:
    """Decoded pictures, all of one size and of a plausible size together.

    Args:
        path: of the set, for messages.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._decoded = path, list[Tensor]()

    def add(self, content: bytes, what: str, most: int) -> None:
        """Decodes one picture.

        Args:
            content: of its file.
            what: its name, for messages.
            most: bytes that all pictures may have.

        Raises:
            ConfigError: it cannot be decoded, has another size than the first, or is too much.
        """
        picture = _picture(content, what)
        self._decoded.append(picture)
        shape, first = list(picture.shape), list(self._decoded[0].shape)
        if shape != first:
            raise ConfigError(f"{what}: is {shape}, the first {first}; all must be of one size")
        if len(self._decoded) * picture.numel() > most:
            raise ConfigError(
                f"{self._path}: unpacks to more than {format_bytes(most)}, which is not plausible"
            )

    def stacked(self) -> Tensor:
        """Returns the pictures, uint8 [N, channels, H, W]."""
        return torch.stack(self._decoded)


def png(path: Path) -> ForeignSet:
    """Reads a folder of pictures by class, `<class>/*.png`; also JPEG, BMP and WebP files.

    Args:
        path: the folder.
    """
    folders = sorted(each for each in _entries(path) if each.is_dir())
    pictures, labels, files, size = _Pictures(path), [], list[Path](), 0
    for label, folder in enumerate(folders):
        for file in _entries(folder):
            size += check_regular(file, _LARGEST_PICTURE)
            pictures.add(file.read_bytes(), printable(file), largest_content(size))
            labels.append(label)
            files.append(file)
    if not files:
        raise ConfigError(f"{path}: must hold pictures in class folders, <class>/*.png")
    names = [folder.name for folder in folders]
    return ForeignSet(
        "png", files, pictures.stacked(), torch.tensor(labels), classes=names, normalization="none"
    )


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not is_hidden(path.name))
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read ({error.strerror}); name another folder") from None


def tables(path: Path) -> list[Path]:
    """Returns the parquet or Arrow files of a dataset: those of its train split, if it has splits."""
    if not path.is_dir():
        return [path]
    for pattern in ("*.parquet", "data/*.parquet", "*/*.parquet", "*.arrow", "train/*.arrow"):
        if files := sorted(path.glob(pattern)):
            train = [file for file in files if "train" in (file.parent.name, file.name.split("-")[0])]
            return train or files
    return []


def huggingface(path: Path) -> ForeignSet:
    """Reads a local Hugging Face dataset with a column of images and a column of labels.

    Pictures must be in the files themselves: paths and links in them are not followed.

    Args:
        path: a parquet or Arrow file; a folder of them, as on the Hub or as `save_to_disk` writes it.

    Raises:
        ConfigError: pyarrow is not installed, or the files have other columns.
    """
    pictures, values, names = _Pictures(path), list[Any](), list[str]()
    files = tables(path)
    if not files:
        raise ConfigError(f"{path}: has no parquet or Arrow files")
    for file in files:
        most = largest_content(check_regular(file))
        for picture, value, known in _rows(file):
            names = known
            pictures.add(picture, f"{file}: image {len(values)}", most)
            values.append(value)
    if not values:
        raise ConfigError(f"{path}: has no rows")
    if all(map(is_whole, values)):
        labels = values
    elif all(isinstance(value, str) for value in values):
        names = sorted(set(values))
        labels = [names.index(value) for value in values]
    else:
        raise ConfigError(f"{path}: labels must be whole numbers or names")
    numbers = torch.tensor(labels)
    return ForeignSet(
        "huggingface", files, pictures.stacked(), numbers, classes=names or None, normalization="none"
    )


def _rows(file: Path) -> Iterator[tuple[bytes, Any, list[str]]]:
    # Yields the encoded picture, the label, and the class names.
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise ConfigError("layout=huggingface: pyarrow is not installed; pip install 'gmlight[hf]'") from None
    try:
        if file.suffix == ".parquet":
            table = parquet.ParquetFile(file)
            # Row by row: a few bytes can stand for many large values.
            schema, batches = table.schema_arrow, table.iter_batches(1)
        else:
            batches = pyarrow.ipc.open_stream(file)
            schema = batches.schema
        image, label = _column(schema, _IMAGE_COLUMNS, file), _column(schema, _LABEL_COLUMNS, file)
        names = _class_names(schema, label)
        for batch in batches:
            rows = zip(batch.column(image).to_pylist(), batch.column(label).to_pylist(), strict=True)
            for picture, value in rows:
                content = picture.get("bytes") if isinstance(picture, dict) else picture
                if not isinstance(content, bytes):
                    raise ConfigError(f"{file}: pictures must be in the file, not in other files")
                yield content, value, names
    except ConfigError:
        raise
    except Exception as error:  # pyarrow raises many types for what it cannot read
        refuse_unreadable(file, error)


def _column(schema: Any, names: tuple[str, ...], file: Path) -> str:
    found = [name for name in names if name in schema.names]
    if not found:
        columns = name_some([printable(name) for name in schema.names])
        raise ConfigError(f"{file}: has the columns {columns}; must have one of {', '.join(names)}")
    return found[0]


def _class_names(schema: Any, label: str) -> list[str]:
    try:
        names = json.loads(schema.metadata[b"huggingface"])["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return []
    known = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return names if known else []


def _picture(content: bytes, what: str) -> Tensor:
    # uint8 [channels, H, W]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures, which are refused
            picture = Image.open(io.BytesIO(content), formats=_FORMATS)
        if picture.width * picture.height > _MOST_PIXELS:
            raise ConfigError(f"{what}: is {picture.width}x{picture.height}, larger than any condensed image")
        picture.load()
        return picture_to_pixels(picture, what)
    except ConfigError:
        raise
    except Exception:  # Pillow raises many types for what it cannot read
        raise ConfigError(f"{what}: is no picture of the formats {', '.join(_FORMATS)}") from None
