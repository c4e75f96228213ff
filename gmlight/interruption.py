"""SIGINT and SIGTERM: a run saves where it is and ends; a second signal ends it at once."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
GRACE = 10.0  # seconds that what is deferred has to come to a good place
SAME = 0.3  # seconds in which several signals are one: a scheduler tells every process of a group


class Stopped(BaseException):
    """A signal ended the work. No Exception: neither Hydra's sweeps nor Lightning may go on after it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum
        self.resumable = False

    def told(self, folder: Path) -> str:
        """A line for a person: what happened, and how to go on."""
        return f"stopped by {self}" + (f"; go on with resume={folder}" if self.resumable else "")

    @property
    def status(self) -> int:
        """The exit status that shells know: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.signum


class Interruption:
    """Whether a signal has come. By default it raises `Stopped` where the program is.

    Attributes:
        signum: of the first signal, once there was one.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._came = 0.0
        self._deferred = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Takes the signals, and gives them back as they were."""
        before = {signum: signal.getsignal(signum) for signum in (*SIGNALS, signal.SIGALRM)}
        self.take()
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def take(self) -> None:
        """Takes the signals, also from one who took them in between, as Lightning's trainer does."""
        for signum in SIGNALS:
            signal.signal(signum, self._handle)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, a signal is only noted, for `GRACE` seconds; `settle` raises it."""
        with self._set(deferred=True):
            yield
        self.settle()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, a signal raises where the program is, though it is deferred outside."""
        self.settle()
        with self._set(deferred=False):
            yield

    def settle(self) -> None:
        """To be called where all is saved.

        Raises:
            Stopped: a signal has come.
        """
        if self.signum is not None:
            raise Stopped(self.signum)

    @contextmanager
    def _set(self, deferred: bool) -> Iterator[None]:
        before, self._deferred = self._deferred, deferred
        try:
            yield
        finally:
            self._deferred = before

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None:
            if time.monotonic() - self._came > SAME:
                os._exit(128 + signum)
            return
        self.signum, self._came = signum, time.monotonic()
        if not self._deferred:
            raise Stopped(signum)
        signal.signal(signal.SIGALRM, self._late)
        signal.setitimer(signal.ITIMER_REAL, GRACE)

    def _late(self, signum: int, frame: FrameType | None) -> NoReturn:
        assert self.signum is not None
        raise Stopped(self.signum)


interruption = Interruption()  # of this process
