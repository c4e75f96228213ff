"""Signals, in a process of their own."""

import os
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from gmlight.runtime.signals import Stopped, ending_launched_processes, resumable
from helpers.processes import run_code, run_forked

SETUP = """
import ctypes, os, signal, sys, threading
from gmlight.runtime import signals as module
from gmlight.runtime.signals import Stopped, signal_handler
module.DEFERRAL_SECONDS, module.DUPLICATE_SECONDS = {grace}, {same}

def send(signum):
    os.kill(os.getpid(), signum)

try:
    with signal_handler.installed():
        {body}
        print("to the end")
except Stopped as stopped:
    print(stopped)
    sys.exit(stopped.status)
"""


def process(body: str, grace: float = 60, same: float = -1) -> subprocess.CompletedProcess:
    code = SETUP.format(body=body.replace("\n", "\n        "), grace=grace, same=same)
    return run_forked(run_code, code, folder=Path.cwd(), environment=os.environ, timeout=60)


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_ends_what_is_not_deferred(name: str, status: int) -> None:
    result = process(f"send(signal.{name})")
    assert (result.returncode, result.stdout) == (status, f"{name}\n"), result.stderr


def test_what_is_deferred_comes_to_its_end() -> None:
    result = process("with signal_handler.deferred():\n    send(signal.SIGTERM)\n    print('saved')")
    assert (result.returncode, result.stdout) == (143, "saved\nSIGTERM\n"), result.stderr


def test_inside_what_is_deferred_some_is_not() -> None:
    body = (
        "with signal_handler.deferred():\n    with signal_handler.immediate():\n        send(signal.SIGTERM)"
    )
    assert process(body + "\n        print('no')").stdout == "SIGTERM\n"
    body = "with signal_handler.deferred():\n    send(signal.SIGTERM)\n    with signal_handler.immediate():"
    assert process(body + "\n        print('no')").stdout == "SIGTERM\n"


def test_grace_has_an_end() -> None:
    result = process(
        "with signal_handler.deferred():\n    send(signal.SIGINT)\n    while True: pass", grace=0.01
    )
    assert (result.returncode, result.stdout) == (130, "SIGINT\n"), result.stderr


def test_a_second_signal_ends_at_once() -> None:
    body = "with signal_handler.deferred():\n    send(signal.SIGTERM)\n    send(signal.SIGINT)"
    result = process(body + "\n    signal.pause()")
    assert (result.returncode, result.stdout) == (130, ""), result.stderr


def test_the_same_event_told_twice_is_one_signal() -> None:
    body = "with signal_handler.deferred():\n    send(signal.SIGTERM)\n    send(signal.SIGTERM)"
    assert process(body + "\n    print('saved')", same=60).stdout == "saved\nSIGTERM\n"


def test_a_process_that_hangs_in_one_call_ends_all_the_same() -> None:
    # A lock in C that is taken twice: there no handler of Python's is ever called.
    body = "module.EXIT_SECONDS = 0\nlibc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)\n"
    body += "threading.Timer(0.1, send, [signal.SIGTERM]).start()\n"
    body += "with signal_handler.deferred():\n    while True: libc.pthread_mutex_lock(mutex)"
    result = process(body, grace=0.01)
    assert (result.returncode, result.stdout) == (143, ""), result.stderr


def test_a_stop_is_resumable_only_inside_its_block() -> None:
    assert not Stopped(signal.SIGTERM).resumable
    with pytest.raises(Stopped) as caught, resumable():
        raise Stopped(signal.SIGTERM)
    assert caught.value.resumable


def test_launched_processes_end_with_an_error_only() -> None:
    killed: list[int] = []
    strategy = SimpleNamespace(launcher=SimpleNamespace(kill=killed.append))
    with ending_launched_processes(strategy):
        pass
    assert killed == []
    with pytest.raises(KeyboardInterrupt), ending_launched_processes(strategy):
        raise KeyboardInterrupt
    assert killed == [signal.SIGTERM]
    with pytest.raises(ValueError, match="alone"), ending_launched_processes(SimpleNamespace(launcher=None)):
        raise ValueError("alone")
