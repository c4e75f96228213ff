"""Schedules: number of epochs that the network trains between image updates (section 3.3).

A schedule takes the update t and the losses. It yields once per network epoch, and may measure the losses
before it yields again. It may declare `needs_list`: its `epochs` are a list with an entry for each t.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from gmlight.runtime.answers import answers


class Losses(Protocol):
    """Mean cross-entropy of the network in its current state, in nats."""

    def real(self) -> float:
        """Loss on one mixed batch of real images, the same throughout an update t."""

    def synthetic(self) -> float:
        """Loss on the whole synthetic set."""


Schedule = Callable[[int, Losses], Iterator[None]]


def fixed(t: int, losses: Losses, *, ipc: int, epochs: int | Mapping[int, int]) -> Iterator[None]:
    """Yields the same number of epochs at every t.

    Args:
        t: image update.
        losses: not measured.
        ipc: images per class.
        epochs: a number, or a table by ipc; an ipc between two entries uses the smaller one.
    """
    for _ in range(look_up(epochs, ipc)):
        yield


def adaptive(t: int, losses: Losses, *, epochs: int | Mapping[int, int]) -> Iterator[None]:
    """Yields zeta(t) epochs (Eq. 12).

    Args:
        t: image update.
        losses: not measured.
        epochs: a number, or a table by t; a t between two entries uses the smaller one.
    """
    for _ in range(look_up(epochs, t)):
        yield


@answers(needs_list=True)
def table(t: int, losses: Losses, *, epochs: Sequence[int]) -> Iterator[None]:
    """Yields zeta(t) epochs from a list.

    Args:
        t: image update.
        losses: not measured.
        epochs: zeta of each t but the last.
    """
    for _ in range(epochs[t]):
        yield


def until_overfit(t: int, losses: Losses, *, criterion: str, margin: float, limit: int) -> Iterator[None]:
    """Yields epochs until the network overfits the synthetic set (section 3.3).

    The network keeps its last state; an earlier one is not restored.

    Args:
        t: image update; not used.
        losses: measured before the first epoch and after each.
        criterion: `rise` ends after the first epoch that raised the real loss; `gap` after the first epoch
            that left L(T) - L(S) above the margin.
        margin: in nats, for `gap`.
        limit: largest number of epochs at one t.
    """
    before = losses.real()
    for _ in range(limit):
        yield
        after = losses.real()
        if after > before if criterion == "rise" else after - losses.synthetic() > margin:
            return
        before = after


def look_up(epochs: int | Mapping[int, int], key: int) -> int:
    """Returns the entry of the table's largest key that is at most `key`; a number is returned unchanged."""
    return epochs if isinstance(epochs, int) else epochs[max(entry for entry in epochs if entry <= key)]
