"""Keeps the decoded pixels of large folders for later runs.

They lie beside the pictures in `.gmlight/`, or in the user's cache folder if that cannot be written. They are
used only while path, size and times of every file are the same. They may be deleted at any time.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import PIL
import platformdirs
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gmlight.data.names import CACHE_FOLDER
from gmlight.data.pictures import PictureForm
from gmlight.runtime.atomic import atomic_write, partial_path

VERSION = 2  # of gmlight's way to read pictures; to be raised whenever pixels change


@dataclass(frozen=True)
class Decoded:
    """The pictures among some files.

    Args:
        images: uint8 [n, channels, H, W], in the order of the files.
        positions: position of each picture's file, [n].
        unreadable: why a picture cannot be read, by the position of its file.
    """

    images: Tensor
    positions: list[int]
    unreadable: dict[int, str]


class PixelCache:
    """The kept pixels of some files in one form.

    Args:
        paths: of the files.
        root: the folder that holds them.
        form: of the images.
    """

    def __init__(self, paths: Sequence[str], root: Path, form: PictureForm) -> None:
        self._key = _key(paths, root, form)
        # One file for each form, which a changed folder replaces.
        name = _sha256([*asdict(form).values()])[:16] + ".safetensors"
        of_root = _sha256(os.path.realpath(root))[:16]
        cache = platformdirs.user_cache_path("gmlight")
        self._places = [root / CACHE_FOLDER / name, cache / of_root / name]

    def find(self) -> Decoded | None:
        """Returns what an earlier run has kept; None if there is nothing, or it is out of date or damaged."""
        return next(filter(None, (_load(place, self._key) for place in self._places)), None)

    def store(self, decoded: Decoded) -> None:
        """Keeps decoded files, where there is a place to write with room."""
        for place in self._places:
            with contextlib.suppress(OSError, SafetensorError):
                _store(decoded, place, self._key)
                break


def _key(paths: Sequence[str], root: Path, form: PictureForm) -> str:
    # ctime cannot be set: it betrays a picture that was edited and given its old time, and it keeps a folder
    # from a stranger from bringing pixels of its own.
    digest = hashlib.sha256(json.dumps([VERSION, PIL.__version__, asdict(form)]).encode())
    for path in paths:
        try:
            status = os.stat(path)
            state = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        except OSError:  # a broken link
            state = []
        digest.update(json.dumps([os.path.relpath(path, root), state]).encode())
    return digest.hexdigest()


def _load(place: Path, key: str) -> Decoded | None:
    if not _leads_nowhere_else(place) or not place.is_file():  # to open a pipe would wait for ever
        return None
    try:
        with safe_open(place, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("key") != key:
                return None
            images = file.get_tensor("images")
        positions, unreadable = json.loads(metadata["rest"])
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    decoded = Decoded(images, positions, {int(i): reason for i, reason in unreadable.items()})
    return decoded if metadata.get("digest") == _digest(decoded) else None


def _leads_nowhere_else(place: Path) -> bool:
    return not (place.is_symlink() or place.parent.is_symlink())


def _store(decoded: Decoded, place: Path, key: str) -> None:
    if not _leads_nowhere_else(place):
        raise OSError(f"{place} leads elsewhere")
    place.parent.mkdir(parents=True, exist_ok=True)
    if decoded.images.nbytes > shutil.disk_usage(place.parent).free / 2:
        raise OSError("the disk is nearly full")
    metadata = {"key": key, "rest": _rest(decoded), "digest": _digest(decoded)}
    try:
        with atomic_write(place) as file:
            save_file({"images": decoded.images}, file, metadata)
    finally:
        partial_path(place).unlink(missing_ok=True)


def _rest(decoded: Decoded) -> str:
    return json.dumps([decoded.positions, decoded.unreadable])


def _digest(decoded: Decoded) -> str:
    digest = hashlib.sha256(_rest(decoded).encode())
    digest.update(decoded.images.contiguous().numpy().data)
    return digest.hexdigest()


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
