"""Accuracies on disk as soon as they are known, so that an evaluation that is cut short goes on."""

import hashlib
import json
import time
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

from gmlight.data.images import LabelledImages, TrainingSet


class Journal:
    """A file of lines, each the accuracy of one network; what was cut short in a line is no line.

    Args:
        path: may be there already. protocol: whatever the accuracies depend on besides set, architecture and
            number of the network; plain containers.

    Attributes:
        seconds: that the accuracies which were asked for have taken, those of earlier evaluations included.

    A line: set and architecture, number of the network, accuracy, seconds since the line before, check.
    """

    def __init__(self, path: Path, protocol: Any) -> None:
        self._path, self._protocol = path, _digest(protocol)
        self._lines: dict[str, dict[int, float]] = {}
        self._of_lines: dict[str, float] = {}  # seconds
        self.seconds, self._last = 0.0, time.monotonic()
        for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
            try:
                key, network, accuracy, seconds, check = json.loads(line)
            except (ValueError, TypeError):
                continue
            if check == _digest([key, network, accuracy, seconds]):
                self._lines.setdefault(key, {})[network] = accuracy
                self._of_lines[key] = self._of_lines.get(key, 0.0) + seconds

    def accuracies(self, name: str, images: TrainingSet, architecture: str) -> MutableMapping[int, float]:
        """By network, those that are known of this set and architecture; what is put there is written."""
        of_set = _digest_images(images) if isinstance(images, LabelledImages) else len(images)
        key = _digest([self._protocol, name, of_set, architecture])
        self.seconds += self._of_lines.pop(key, 0.0)
        return _Accuracies(self, key, self._lines.setdefault(key, {}))

    def append(self, key: str, network: int, accuracy: float) -> None:
        """Writes a line."""
        now = time.monotonic()
        entry = [key, network, accuracy, round(now - self._last, 3)]
        self.seconds, self._last = self.seconds + now - self._last, now
        with self._path.open("a") as file:
            file.write("\n" + json.dumps([*entry, _digest(entry)]))  # an unfinished line ends here


class _Accuracies(MutableMapping[int, float]):
    def __init__(self, journal: Journal, key: str, known: dict[int, float]) -> None:
        self._journal, self._key, self._known = journal, key, known

    def __setitem__(self, network: int, accuracy: float) -> None:
        self._journal.append(self._key, network, accuracy)
        self._known[network] = accuracy

    def __getitem__(self, network: int) -> float:
        return self._known[network]

    def __delitem__(self, network: int) -> None:
        del self._known[network]

    def __iter__(self) -> Iterator[int]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _digest_images(images: LabelledImages) -> str:
    parts = (tensor.cpu().contiguous().numpy().tobytes() for tensor in (images.images, images.labels))
    return hashlib.sha256(b"".join(parts)).hexdigest()
