"""A walk through a folder of images; opens no files."""

import os
from collections.abc import Iterator

from gmlight.data.names import CACHE_FOLDER, PassedOver, is_hidden, printable
from gmlight.errors import ConfigError


class Walk:
    """Lists entries, and enters each folder once: links lead neither in circles nor into another class.

    Attributes:
        passed_over: entries that are not listed.
    """

    def __init__(self) -> None:
        self.passed_over = PassedOver()
        self._entered: dict[tuple[int, int], str] = {}  # path by device and inode

    def enter(self, folder: str) -> None:
        """Enters a folder that has a meaning of its own: the root, a part, or a class.

        Raises:
            ConfigError: it is entered already, under another path.
        """
        other = self._entered.setdefault(_identity(folder), folder)
        if other != folder:
            raise ConfigError(f"{printable(other)} and {printable(folder)} are the same folder; remove one")

    def entries(self, folder: str) -> tuple[list[str], list[str]]:
        """Returns the paths of the folders and of the files in a folder, sorted, without hidden ones.

        Raises:
            ConfigError: the folder cannot be read.
        """
        folders, files = [], []
        for entry in _scan(folder):
            if is_hidden(entry.name):
                if entry.name != CACHE_FOLDER:
                    self.passed_over.add("hidden or system entries", [entry.path])
            elif os.path.isdir(entry.path):
                folders.append(entry.path)
            elif os.path.isfile(entry.path) or not os.path.exists(entry.path):  # or a broken link
                files.append(entry.path)
            else:
                self.passed_over.add("pipes, sockets or devices", [entry.path])
        return folders, files

    def files(self, folder: str) -> list[str]:
        """Returns the paths of the files in a folder, at every level, sorted by folder and name."""
        return sorted(self._files(folder), key=lambda path: path.split(os.sep))

    def _files(self, folder: str) -> Iterator[str]:
        folders, files = self.entries(folder)
        yield from files
        for inner in folders:
            if self._entered.setdefault(_identity(inner), inner) == inner:
                yield from self._files(inner)
            else:
                self.passed_over.add("links to a folder that is read already", [inner])


def only_folder_below(folder: str) -> str:
    """Returns the first folder, from this one downwards, that does not hold exactly one folder."""
    for _ in range(8):  # links may lead in a circle
        below = [
            entry.path for entry in _scan(folder) if not is_hidden(entry.name) and os.path.isdir(entry.path)
        ]
        if len(below) != 1:
            return folder
        folder = below[0]
    return folder


def _scan(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        mend = "; change its permissions" if isinstance(error, PermissionError) else ""
        raise ConfigError(f"{printable(folder)}: cannot be read ({error.strerror}){mend}") from None


def _identity(folder: str) -> tuple[int, int]:
    found = os.stat(folder)
    return found.st_dev, found.st_ino
