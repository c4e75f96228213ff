"""Whether numbers are finite, asked without waiting for the device that computes them."""

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

from gmlight.errors import NonFiniteError


class FiniteWatch:
    """Reads verdicts when they are there: at once on a CPU, one update later on an accelerator.

    There the answer to one update is copied while the next is computed, so that neither side waits.
    """

    def __init__(self) -> None:
        self._pending: deque[tuple[Tensor, torch.Event | None, Callable[[], str]]] = deque()

    def note(self, finite: Tensor, blame: Callable[[], str]) -> None:
        """Takes a verdict, [] bool, and reads those that are due.

        Args:
            blame: what to say where it is false; called only then.

        Raises:
            NonFiniteError: a verdict that was read is false.
        """
        event = None
        if finite.device.type != "cpu":
            event = torch.Event(finite.device)
            finite = finite.to("cpu", non_blocking=True)
            event.record()
        self._pending.append((finite, event, blame))
        while len(self._pending) > (event is not None):
            self._read()

    def settle(self) -> None:
        """Reads all that is pending.

        Raises:
            NonFiniteError: a verdict is false.
        """
        while self._pending:
            self._read()

    def _read(self) -> None:
        finite, event, blame = self._pending.popleft()
        if event is not None:
            event.synchronize()
        if not finite:
            raise NonFiniteError(blame())
