"""The processes of one run end together: with an error of one, and when one of them is lost."""

import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from torch import distributed as dist

from gmlight.errors import ConfigError
from gmlight.runtime.distributed import ranks
from gmlight.runtime.signals import signal_handler

POLL_SECONDS = 1.0
LOSS_SECONDS = 10.0  # by then a collective has usually failed, and this process ends in order


class LostProcessError(ConfigError):
    """Another process of the run has ended.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(
            "another process of the run has ended (its own message, or a kill for lack of memory, says why); "
            f"continue with resume={shlex.quote(str(folder))}"
        )


def signals_at_once() -> AbstractContextManager:
    """Returns a context for long work: a signal ends it at once, if no other rank would be left waiting."""
    return signal_handler.immediate() if ranks.size == 1 else nullcontext()


@contextmanager
def naming_lost_processes(folder: Path) -> Iterator[None]:
    """Explains a failed collective inside the block in one line.

    Args:
        folder: of the run.

    Raises:
        LostProcessError: a collective failed.
        Stopped: it failed because all processes are being stopped.
    """
    try:
        yield
    except RuntimeError as error:  # gloo has no type of its own
        if ranks.size == 1 or not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        signal_handler.raise_if_signalled()
        raise LostProcessError(folder) from None


@contextmanager
def ending_launched_processes(strategy: Any, on_loss: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Ends the processes that a trainer has started if the block fails; ends this one if one of them is lost.

    Args:
        strategy: the trainer's strategy; its launcher is None if it starts no processes.
        on_loss: called before this process is ended, in a thread: it hangs in a collective.
    """
    if strategy.launcher is None:
        yield
        return
    ended = threading.Event()
    watch = threading.Thread(target=_watch, args=(strategy.launcher, ended, on_loss), daemon=True)
    watch.start()
    try:
        yield
    except BaseException:
        strategy.launcher.kill(signal.SIGTERM)
        raise
    finally:
        ended.set()


def _watch(launcher: Any, ended: threading.Event, on_loss: Callable[[], None]) -> None:
    while not ended.wait(POLL_SECONDS):
        if not any(process.poll() for process in launcher.procs):
            continue
        if not ended.wait(LOSS_SECONDS):
            on_loss()
            launcher.kill(signal.SIGKILL)
            sys.stderr.flush()
            os._exit(1)
