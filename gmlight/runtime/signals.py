"""SIGINT and SIGTERM: a run saves where it is and ends; a second signal ends it at once."""

import math
import os
import select
import shlex
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
GRACE = 10.0  # seconds that what is deferred has to come to a good place
MERCY = 5.0  # seconds beyond, after which the process ends whatever it is doing
SAME = 0.3  # seconds in which several signals are one: a scheduler tells every process of a group


class Stopped(BaseException):
    """A signal ended the work. No Exception: neither Hydra's sweeps nor Lightning may go on after it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum
        self.resumable = self.told = False

    def line(self, folder: Path) -> str:
        """For a person: what happened, and how to go on."""
        how = f"; go on with resume={shlex.quote(str(folder))}" if self.resumable else ""
        return f"stopped by {self}{how}"

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
        self._taken: set[int] = set(SIGNALS)
        self._installed = self._deferred = self._raised = False

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Takes the signals, and gives them back as they were; the process never ends by a second signal.

        For a run inside a program, such as a notebook. Outside the main thread, which alone can take
        signals, it does nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self.signum, self._raised = None, False
        before = {signum: signal.getsignal(signum) for signum in (*SIGNALS, signal.SIGALRM)}
        self._installed = True
        self.take()
        try:
            yield
        finally:
            self._installed, self.signum = False, None
            signal.setitimer(signal.ITIMER_REAL, 0)
            for signum, handler in before.items():
                signal.signal(signum, handler)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Takes the signals, and gives them back as they were."""
        self.signum, self._raised = None, False
        before = {signum: signal.getsignal(signum) for signum in (*SIGNALS, signal.SIGALRM)}
        ear, mouth = os.pipe()
        os.set_blocking(mouth, False)
        mouth_before = signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)
        watch = threading.Thread(target=self._watch, args=(ear,), daemon=True)
        watch.start()
        self._installed = True
        self.take()
        try:
            yield
        finally:
            self._installed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            for signum, handler in before.items():
                signal.signal(signum, handler)
            signal.set_wakeup_fd(mouth_before)
            os.close(mouth)  # which ends the thread
            watch.join()
            os.close(ear)

    def take(self, *others: int) -> None:
        """Takes the signals again from who took them in between, as Lightning's trainer does.

        Args:
            others: taken from now on as well.
        """
        self._taken |= set(others)
        for signum in self._taken if self._installed else ():
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
            self._raise(self.signum)

    @contextmanager
    def _set(self, deferred: bool) -> Iterator[None]:
        before, self._deferred = self._deferred, deferred
        try:
            yield
        finally:
            self._deferred = before

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None:  # what a second one does is the thread's business
            return
        self.signum = signum
        if not self._deferred:
            self._raise(signum)
        signal.signal(signal.SIGALRM, self._late)
        signal.setitimer(signal.ITIMER_REAL, GRACE)

    def _late(self, signum: int, frame: FrameType | None) -> NoReturn:
        assert self.signum is not None
        self._raise(self.signum)

    def _raise(self, signum: int) -> NoReturn:
        self._raised = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise Stopped(signum)

    def _watch(self, ear: int) -> None:
        # In a thread: Python's own handlers wait for a main thread that is in a long call, or hangs in one.
        signum, first = 0, math.inf
        while True:
            unanswered = first < math.inf and not self._raised
            left = max(0.0, first + GRACE + MERCY - time.monotonic()) if unanswered else None
            if not select.select([ear], [], [], left)[0]:
                if not self._raised:
                    os._exit(128 + signum)
                continue
            told = os.read(ear, 1)
            if not told:
                return
            if told[0] not in SIGNALS:
                continue
            if first == math.inf:
                signum, first = told[0], time.monotonic()
            elif time.monotonic() - first > SAME:
                os._exit(128 + told[0])


interruption = Interruption()  # of this process


@contextmanager
def resumable() -> Iterator[None]:
    """Marks a stop inside the block as one that the run can be resumed from."""
    try:
        yield
    except Stopped as stopped:
        stopped.resumable = True
        raise


@contextmanager
def ending_launched_processes(strategy: Any) -> Iterator[None]:
    """Ends the processes that a trainer has started if the block fails.

    Args:
        strategy: the trainer's; its launcher is None if it starts no processes.
    """
    try:
        yield
    except BaseException:
        if strategy.launcher is not None:
            strategy.launcher.kill(signal.SIGTERM)
        raise
