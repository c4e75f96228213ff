"""Augmentation-robust scores of sets that were evaluated under two protocols."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gmlight.artifacts.record import RunRecord
from gmlight.artifacts.robust_scores import RANDOM, augmentation_robust_score
from gmlight.artifacts.run_folder import RunFolder
from gmlight.artifacts.set_files import METADATA, read_metadata
from gmlight.errors import ConfigError
from gmlight.runtime.console import relative_path

PLAIN = "plain"


def augmentation_notes(
    results: Mapping[Path, Mapping[str, Any]], again: Iterable[Mapping[str, Any]]
) -> Iterator[str]:
    """Yields a line with the ARS of each set evaluated under the plain and under another protocol.

    Args:
        results: of runs, by run folder.
        again: results of sets that were evaluated again.
    """
    # Other settings than the protocol's, or the first images alone, would be another question.
    evaluated = [each for each in again if not each.get("changed")]
    for folder, result in results.items() if evaluated else ():
        digest, ipc = _digest(folder), result["config"]["ipc"]
        same = [
            each
            for each in evaluated
            if digest is not None and (each["set"]["sha256"], each["config"]["ipc"]) == (digest, ipc)
        ]
        gains = {key: gain for each in (*reversed(same), result) for key, gain in _gains(each).items()}
        for (architecture, protocol), gain in gains.items():
            plain = gains.get((architecture, PLAIN))
            if plain is not None and protocol != PLAIN:
                score = augmentation_robust_score(gain, plain)
                yield (
                    f"{relative_path(folder)}: augmentation-robust score of "
                    f"{RunRecord.from_dict(result).method} on {architecture}: {score:.3f} "
                    f"(protocols {PLAIN} and {protocol})"
                )


def _gains(result: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    # By architecture and protocol: how much better than as many random images.
    rows = result["evaluations"]
    random = {row["architecture"]: row["accuracy"]["mean"] for row in rows if row["name"] == RANDOM}
    return {
        (row["architecture"], row["accuracy"].get("protocol", PLAIN)): row["accuracy"]["mean"]
        - random[row["architecture"]]
        for row in rows
        if row["name"] == rows[0]["name"] != RANDOM and row["architecture"] in random
    }


def _digest(folder: Path) -> str | None:
    # Of the run's set; None if it is not there.
    condensed = RunFolder(folder).condensed
    try:
        found = read_metadata(condensed).get("sha256") if (condensed / METADATA).exists() else None
    except ConfigError:
        return None
    return found if isinstance(found, str) else None
