"""SIGINT, SIGTERM, SIGHUP: the first one saves the run and ends it; a second one ends the process at once."""

import math
import os
import select
import shlex
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from gmlight.runtime.rank import is_main

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
DEFERRAL_SECONDS = 10.0  # a deferred signal is raised after this time at the latest
EXIT_SECONDS = 5.0  # after that, the process exits even if it hangs
DUPLICATE_SECONDS = 0.3  # signals this close are one event: schedulers signal every process of a group


class Stopped(BaseException):
    """Raised when a signal stops the run. Not an Exception, so that neither Hydra nor Lightning catches it.

    Attributes:
        signum: number of the signal.
        resumable: whether the run folder can be resumed.
        reported: whether the command line has already printed it.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum
        self.resumable = self.reported = False

    def line(self, folder: Path) -> str:
        """Returns a message that names the signal and the way to resume the run in `folder`."""
        how = f"; continue with resume={shlex.quote(str(folder))}" if self.resumable else ""
        return f"stopped by {self}{how}"

    @property
    def status(self) -> int:
        """Exit status by the shells' convention: 129 for SIGHUP, 130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.signum


class SignalHandler:
    """Handles the stop signals of this process. By default the first one raises `Stopped` immediately.

    Attributes:
        signum: the first signal received, or None.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._additional: set[int] = set()
        self._handled: set[int] = set()
        self._installed = self._deferred = self._raised = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Installs the handlers inside the block and restores the previous ones afterwards."""
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)
        previous_fd = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        watchdog = threading.Thread(target=self._watch, args=(read_end,), daemon=True)
        watchdog.start()
        try:
            with self._replacing_handlers():
                yield
        finally:
            signal.set_wakeup_fd(previous_fd)
            os.close(write_end)  # ends the thread
            watchdog.join()
            os.close(read_end)

    @contextmanager
    def installed_in_program(self) -> Iterator[None]:
        """Installs the handlers like `installed`, but a second signal does not end the process.

        For a run inside a program, such as a notebook. Does nothing outside the main thread, because Python
        allows no handlers there.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        try:
            with self._replacing_handlers():
                yield
        finally:
            self.signum = None

    @contextmanager
    def _replacing_handlers(self) -> Iterator[None]:
        self.signum, self._raised = None, False
        previous = {signum: signal.getsignal(signum) for signum in (*SIGNALS, signal.SIGALRM)}
        self._handled = set(SIGNALS)
        if previous[signal.SIGHUP] == signal.SIG_IGN:  # nohup: the run outlives its terminal
            self._handled.remove(signal.SIGHUP)
        self._installed = True
        self.reinstall()
        try:
            yield
        finally:
            self._installed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            for signum, handler in previous.items():
                signal.signal(signum, handler)

    def reinstall(self, *additional: int) -> None:
        """Installs the handlers again after other code replaced them.

        Args:
            additional: more signals to handle from now on.
        """
        self._additional |= set(additional)
        self._handled |= self._additional
        for signum in self._handled if self._installed else ():
            signal.signal(signum, self._handle)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Defers a signal to the end of the block, or by `DEFERRAL_SECONDS` at most."""
        with self._set(deferred=True):
            yield
        self.raise_if_signalled()

    @contextmanager
    def immediate(self) -> Iterator[None]:
        """Raises a signal immediately inside the block, even within `deferred`."""
        self.raise_if_signalled()
        with self._set(deferred=False):
            yield

    def raise_if_signalled(self) -> None:
        """Raises a deferred signal; call it when the run is saved.

        Raises:
            Stopped: a signal was received.
        """
        if self.signum is not None:
            self._raise(self.signum)

    @contextmanager
    def _set(self, deferred: bool) -> Iterator[None]:
        previous, self._deferred = self._deferred, deferred
        try:
            yield
        finally:
            self._deferred = previous

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None:  # a second signal is handled by the thread
            return
        self.signum = signum
        if not self._deferred:
            self._raise(signum)
        signal.signal(signal.SIGALRM, self._on_alarm)
        signal.setitimer(signal.ITIMER_REAL, DEFERRAL_SECONDS)

    def _on_alarm(self, signum: int, frame: FrameType | None) -> NoReturn:
        assert self.signum is not None
        self._raise(self.signum)

    def _raise(self, signum: int) -> NoReturn:
        self._raised = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise Stopped(signum)

    def _watch(self, read_end: int) -> None:
        # A thread, because Python's handlers wait for the main thread, which may be in a long call or hang.
        signum, first = 0, math.inf
        while True:
            pending = first < math.inf and not self._raised
            deadline = first + DEFERRAL_SECONDS + EXIT_SECONDS
            left = max(0.0, deadline - time.monotonic()) if pending else None
            if not select.select([read_end], [], [], left)[0]:
                if not self._raised:
                    _exit_at_once(signum)
                continue
            received = os.read(read_end, 1)
            if not received:
                return
            if received[0] not in SIGNALS:
                continue
            if first == math.inf:
                signum, first = received[0], time.monotonic()
            elif time.monotonic() - first > DUPLICATE_SECONDS:
                _exit_at_once(received[0])


def _exit_at_once(signum: int) -> NoReturn:
    if is_main():
        line = (
            f"gmlight: ended at once by {signal.Signals(signum).name}; what the last checkpoint lacks is lost"
        )
        with suppress(OSError):  # on the descriptor, because the main thread may hold the stream's lock
            os.write(2, f"{line}\n".encode())
    os._exit(128 + signum)


signal_handler = SignalHandler()  # the handler of this process


@contextmanager
def resumable(config: Path) -> Iterator[None]:
    """Marks a stop inside the block as resumable if there is a run to resume.

    Args:
        config: path of the run's config.yaml, which exists once the run has begun.
    """
    try:
        yield
    except Stopped as stopped:
        stopped.resumable = config.exists()
        raise
