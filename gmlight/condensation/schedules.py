"""Where gradients are matched: how many epochs the network trains on S between image updates (section 3.3).

A schedule yields once per network epoch of step t, and may look at the losses before it yields again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol


class Losses(Protocol):
    """Mean cross-entropy of the network as it is now."""

    def real(self) -> float:
        """On one mixed batch of real images, the same throughout a step t."""

    def synthetic(self) -> float:
        """On the whole of S."""


Schedule = Callable[[int, Losses], Iterator[None]]


def fixed(t: int, losses: Losses, *, ipc: int, epochs: int | Mapping[int, int]) -> Iterator[None]:
    """As many epochs at every t: a number, or a table from ipc, between entries the next smaller one."""
    for _ in range(look_up(epochs, ipc)):
        yield


def adaptive(t: int, losses: Losses, *, epochs: int | Mapping[int, int]) -> Iterator[None]:
    """zeta(t) as a table from t, between entries the next smaller one (Eq. 12)."""
    for _ in range(look_up(epochs, t)):
        yield


def table(t: int, losses: Losses, *, epochs: Sequence[int]) -> Iterator[None]:
    """zeta(t) from a list, an entry for each t but the last."""
    for _ in range(epochs[t]):
        yield


def until_overfit(t: int, losses: Losses, *, criterion: str, margin: float, limit: int) -> Iterator[None]:
    """Epochs until the network overfits S, without going back (section 3.3).

    Args:
        criterion: `rise` ends after the first epoch that raised the real loss; `gap` after the first epoch
            that left L(T) - L(S) above the margin.
        margin: in nats, for `gap`.
        limit: the most epochs at one t.
    """
    before = losses.real()
    for _ in range(limit):
        yield
        after = losses.real()
        if after > before if criterion == "rise" else after - losses.synthetic() > margin:
            return
        before = after


def look_up(epochs: int | Mapping[int, int], key: int) -> int:
    """The entry of the key, or of the next smaller one that the table has; a number is itself."""
    return epochs if isinstance(epochs, int) else epochs[max(entry for entry in epochs if entry <= key)]
