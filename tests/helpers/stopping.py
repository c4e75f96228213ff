"""Runs of a command that get a signal, or a full disk, at a chosen moment."""

import functools
import importlib
import os
import resource
import signal
import time
from collections.abc import Callable
from typing import Any

from gmlight.runtime import signals
from helpers.processes import run_module

FULL_BYTES = 1000


def run_signalled(module: str, words: list[str], moment: str, call: int, signum: int) -> None:
    """Does what `python -m module words` does, and sends the process a signal.

    Args:
        module: of the command.
        words: of the command line.
        moment: `module:function` or `module:class.method`; the signal comes just before the function starts.
        call: number of the call, from 1.
        signum: the signal.
    """
    before_call(moment, call, lambda: os.kill(os.getpid(), signum))
    run_module(module, words)


def run_stopped_in_a_long_call(module: str, words: list[str], moment: str, call: int) -> None:
    """Does the same with SIGTERM, and with a call that lasts longer than a signal is deferred."""
    signals.DEFERRAL_SECONDS = 0.05

    def hang() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        while True:
            time.sleep(0.01)

    before_call(moment, call, hang)
    run_module(module, words)


def run_killed(module: str, words: list[str], moment: str, call: int) -> None:
    """Does the same, and kills the process, which then cannot do anything more."""
    before_call(moment, call, lambda: os.kill(os.getpid(), signal.SIGKILL))
    run_module(module, words)


def run_with_a_full_disk(module: str, words: list[str], moment: str, call: int) -> None:
    """Does the same, and from then on no file can grow beyond FULL_BYTES."""
    before_call(moment, call, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_BYTES, FULL_BYTES)))
    run_module(module, words)


def before_call(moment: str, call: int, action: Callable[[], None]) -> None:
    """Makes a function do an action first, in its call of this number, from 1."""
    module, path = moment.split(":")
    *owners, name = path.split(".")
    owner = functools.reduce(getattr, owners, importlib.import_module(module))
    function, calls = getattr(owner, name), iter(range(1, 10**9))

    @functools.wraps(function)
    def replacement(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == call:
            action()
        return function(*args, **kwargs)

    setattr(owner, name, replacement)
