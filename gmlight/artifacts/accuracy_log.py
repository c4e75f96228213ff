"""Logs each network's accuracy to disk, so that an interrupted evaluation can be resumed."""

import hashlib
import json
import time
from collections.abc import Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from gmlight.data.images import LabelledImages, TrainingSet


class AccuracyLog:
    """A file with one line per network: hash of set and architecture, number, accuracy, seconds, checksum.

    Truncated or damaged lines are ignored.

    Args:
        path: the file; it may exist.
        protocol: settings that the accuracies depend on, besides the set, the architecture and the network's
            number; plain containers.
        earlier: files of interrupted evaluations, whose accuracies are known too.

    Attributes:
        seconds: computing time of the requested accuracies, including the time in earlier processes.
    """

    def __init__(self, path: Path, protocol: Any, earlier: Sequence[Path] = ()) -> None:
        self._path, self._protocol = path, _digest(protocol)
        self._accuracies: dict[str, dict[int, float]] = {}  # key of set and architecture -> network -> value
        self._logged_seconds: dict[str, float] = {}  # by the same key
        self.seconds, self._last = 0.0, time.monotonic()
        for file in (*earlier, path):
            self._read(file)

    def _read(self, path: Path) -> None:
        for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
            try:
                key, network, accuracy, seconds, check = json.loads(line)
            except (ValueError, TypeError, RecursionError):
                continue
            kinds = [type(value) for value in (key, network, accuracy, seconds)]
            if kinds == [str, int, float, float] and check == _digest([key, network, accuracy, seconds]):
                self._accuracies.setdefault(key, {})[network] = accuracy
                self._logged_seconds[key] = self._logged_seconds.get(key, 0.0) + seconds

    def accuracies(self, name: str, images: TrainingSet, architecture: str) -> MutableMapping[int, float]:
        """Returns the logged accuracies of a set on an architecture; new items are written to the file.

        Args:
            name: the set's name.
            images: the set.
            architecture: the architecture's name.

        Returns:
            Accuracies in percent, by network.
        """
        content = digest_images(images) if isinstance(images, LabelledImages) else len(images)
        key = _digest([self._protocol, name, content, architecture])
        self.seconds += self._logged_seconds.pop(key, 0.0)
        return _LoggedAccuracies(self, key, self._accuracies.setdefault(key, {}))

    def append(self, key: str, network: int, accuracy: float) -> None:
        """Writes the line of one network."""
        now = time.monotonic()
        entry = [key, network, accuracy, round(now - self._last, 3)]
        self.seconds, self._last = self.seconds + now - self._last, now
        with self._path.open("a") as file:
            file.write("\n" + json.dumps([*entry, _digest(entry)]))  # the line break ends a truncated line


class _LoggedAccuracies(MutableMapping[int, float]):
    def __init__(self, log: AccuracyLog, key: str, accuracies: dict[int, float]) -> None:
        self._log, self._key, self._accuracies = log, key, accuracies

    def __setitem__(self, network: int, accuracy: float) -> None:
        self._log.append(self._key, network, accuracy)
        self._accuracies[network] = accuracy

    def __getitem__(self, network: int) -> float:
        return self._accuracies[network]

    def __delitem__(self, network: int) -> None:
        del self._accuracies[network]

    def __iter__(self) -> Iterator[int]:
        return iter(self._accuracies)

    def __len__(self) -> int:
        return len(self._accuracies)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def digest_images(images: LabelledImages) -> str:
    """Identifies a set by its images, labels and soft labels."""
    tensors = [images.images, images.labels, *([] if images.soft_labels is None else [images.soft_labels])]
    return hashlib.sha256(b"".join(t.cpu().contiguous().numpy().tobytes() for t in tensors)).hexdigest()
