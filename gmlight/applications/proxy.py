"""Chooses an architecture or hyper-parameters on a small set: how well does it rank candidates?

Each candidate is trained on each proxy, such as a condensed set, and on the whole training set as the
reference (section 4.4 of the original gradient matching work, Zhao et al., ICLR 2021).
"""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gmlight.applications.rank_correlation import Correlation, best_of, correlate
from gmlight.artifacts.work_log import Outcome

BEST = (5, 10, 20)  # numbers of the reference's best candidates that are also ranked by themselves


@dataclass(frozen=True)
class Measured:
    """The accuracies of all candidates on one training set.

    Args:
        name: of the set.
        images: number of its images.
        storage_bytes: size of its stored values.
        outcomes: of each candidate, one for each of its networks.
    """

    name: str
    images: int
    storage_bytes: int
    outcomes: list[list[Outcome]]

    @property
    def accuracies(self) -> list[float | None]:
        """Mean accuracy of each candidate, in percent; None if one of its networks failed."""
        return [_mean(networks) for networks in self.outcomes]

    @property
    def failures(self) -> dict[int, str]:
        """Why candidates failed, by their place."""
        return {
            place: next(outcome.failure for outcome in networks if outcome.failure)
            for place, networks in enumerate(self.outcomes)
            if any(outcome.failure for outcome in networks)
        }

    @property
    def seconds(self) -> float:
        """Training time of all networks."""
        return sum(outcome.seconds for networks in self.outcomes for outcome in networks)


@dataclass(frozen=True)
class ProxyReport:
    """How a proxy compares with the reference.

    Args:
        name: of the proxy.
        images: number of its images.
        ranking: correlation over all candidates that failed on neither side.
        best: the same over the reference's best 5, 10 and 20, by their number; absent if there are fewer.
        picked: place of the candidate with the highest accuracy on the proxy; None if all failed, or if
            all are equal.
        picked_accuracy: its accuracy on the reference, in percent; None if it failed there.
        seconds: training time of the proxy's networks.
        time_ratio: that time divided by the reference's; None if the reference took none.
        storage_ratio: stored values divided by the reference's.
        failed: number of candidates that failed on the proxy.
    """

    name: str
    images: int
    ranking: Correlation
    best: dict[int, Correlation]
    picked: int | None
    picked_accuracy: float | None
    seconds: float
    time_ratio: float | None
    storage_ratio: float
    failed: int

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain containers."""
        return asdict(self)


def compare(proxy: Measured, reference: Measured, seed: int = 0) -> ProxyReport:
    """Compares a proxy with the reference.

    Args:
        proxy: accuracies on the proxy.
        reference: accuracies of the same candidates on the whole training set.
        seed: of the bootstrap intervals.
    """
    ours, theirs = proxy.accuracies, reference.accuracies
    both = [i for i, pair in enumerate(zip(ours, theirs, strict=True)) if None not in pair]
    ranks = _ranking(ours, theirs, both, seed)
    ordered = [both[i] for i in best_of([_known(theirs[i]) for i in both], len(both))]
    best = {n: _ranking(ours, theirs, ordered[:n], seed) for n in BEST if n < len(both)}
    known = [i for i, accuracy in enumerate(ours) if accuracy is not None]
    tied = len(known) > 1 and len({ours[i] for i in known}) == 1
    picked = max(known, key=lambda i: _known(ours[i])) if known and not tied else None
    return ProxyReport(
        proxy.name,
        proxy.images,
        ranks,
        best,
        picked,
        None if picked is None else theirs[picked],
        proxy.seconds,
        proxy.seconds / reference.seconds if reference.seconds else None,
        proxy.storage_bytes / reference.storage_bytes,
        len(proxy.failures),
    )


def describe_reference(reference: Measured) -> dict[str, Any]:
    """Returns the best and the mean accuracy of the reference, in percent, and its size and time."""
    known = [accuracy for accuracy in reference.accuracies if accuracy is not None]
    return {
        "images": reference.images,
        "storage_bytes": reference.storage_bytes,
        "seconds": reference.seconds,
        "failed": len(reference.failures),
        "best": max(known) if known else None,
        "mean": statistics.fmean(known) if known else None,
    }


def _ranking(
    ours: Sequence[float | None], theirs: Sequence[float | None], places: Sequence[int], seed: int
) -> Correlation:
    return correlate([_known(ours[i]) for i in places], [_known(theirs[i]) for i in places], seed)


def _known(accuracy: float | None) -> float:
    assert accuracy is not None
    return accuracy


def _mean(networks: Sequence[Outcome]) -> float | None:
    accuracies = [outcome.accuracy for outcome in networks if outcome.accuracy is not None]
    return statistics.fmean(accuracies) if networks and len(accuracies) == len(networks) else None
