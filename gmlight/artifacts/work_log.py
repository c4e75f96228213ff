"""Logs finished units of work in a folder that several commands share, so that none is done twice."""

import hashlib
import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gmlight.errors import ConfigError


@dataclass(frozen=True)
class Outcome:
    """What became of a network.

    Args:
        accuracy: on the test images, in percent; None if the network failed.
        seconds: of its training.
        failure: why it failed; empty if it did not.
        lasting: whether it would fail again, so that it is not tried again.
    """

    accuracy: float | None
    seconds: float
    failure: str = ""
    lasting: bool = True


class WorkLog:
    """A folder of files with one line per unit of work: key, outcome, checksum.

    Each process writes a file of its own, so that processes on several machines can share the folder.
    Truncated or damaged lines are ignored.

    Args:
        folder: made when the first outcome is written.

    Raises:
        ConfigError: the path is not a folder.
    """

    def __init__(self, folder: Path) -> None:
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"cache={folder}: is a file; name a folder")
        self._folder = folder
        self._file = folder / f"{socket.gethostname()}-{os.getpid()}.jsonl"
        self._outcomes: dict[str, Outcome] = {}
        self.read()

    def read(self) -> None:
        """Reads what other processes have written since."""
        for path in sorted(self._folder.glob("*.jsonl")):
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                self._read_line(line)

    def _read_line(self, line: str) -> None:
        try:
            key, accuracy, seconds, failure, check = json.loads(line)
        except (ValueError, TypeError, RecursionError):
            return
        numbers = type(seconds) is float and (accuracy is None or type(accuracy) is float)
        if numbers and check == _digest([key, accuracy, seconds, failure]):
            self._outcomes[key] = Outcome(accuracy, seconds, failure)

    def get(self, key: str) -> Outcome | None:
        """Returns the outcome of a unit of work; None if it is not done."""
        return self._outcomes.get(key)

    def add(self, key: str, outcome: Outcome) -> None:
        """Keeps the outcome of a unit of work, and writes it if it lasts."""
        self._outcomes[key] = outcome
        if not outcome.lasting:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        entry = [key, outcome.accuracy, outcome.seconds, outcome.failure]
        with self._file.open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps([*entry, _digest(entry)]))  # the line break ends a truncated line


def work_key(content: Mapping[str, Any]) -> str:
    """Returns the key of a unit of work: a hash of everything that its outcome depends on.

    Args:
        content: plain containers.
    """
    return _digest(content)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
