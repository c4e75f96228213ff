"""Signals, each in its own process."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from gmlight.runtime.signals import SIGNALS, SignalHandler, Stopped, resumable
from helpers.processes import run_code, run_forked

SETUP = """
import ctypes, os, signal, sys, threading
from gmlight.runtime import signals as module
from gmlight.runtime.signals import Stopped, signal_handler
module.DEFERRAL_SECONDS, module.DUPLICATE_SECONDS = {grace}, {same}

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup

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


@pytest.mark.parametrize(("name", "status"), [("SIGHUP", 129), ("SIGINT", 130), ("SIGTERM", 143)])
def test_signal_ends_the_process_at_once(name: str, status: int) -> None:
    result = process(f"send(signal.{name})")
    assert (result.returncode, result.stdout) == (status, f"{name}\n"), result.stderr


def test_deferred_block_finishes_first() -> None:
    result = process("with signal_handler.deferred():\n    send(signal.SIGTERM)\n    print('saved')")
    assert (result.returncode, result.stdout) == (143, "saved\nSIGTERM\n"), result.stderr


def test_immediate_block_inside_a_deferred_block() -> None:
    body = (
        "with signal_handler.deferred():\n    with signal_handler.immediate():\n        send(signal.SIGTERM)"
    )
    assert process(body + "\n        print('no')").stdout == "SIGTERM\n"
    body = "with signal_handler.deferred():\n    send(signal.SIGTERM)\n    with signal_handler.immediate():"
    assert process(body + "\n        print('no')").stdout == "SIGTERM\n"


def test_grace_period_ends() -> None:
    result = process(
        "with signal_handler.deferred():\n    send(signal.SIGINT)\n    while True: pass", grace=0.01
    )
    assert (result.returncode, result.stdout) == (130, "SIGINT\n"), result.stderr


def test_a_second_signal_ends_at_once() -> None:
    body = "with signal_handler.deferred():\n    send(signal.SIGTERM)\n    send(signal.SIGINT)"
    result = process(body + "\n    signal.pause()")
    line = "gmlight: ended at once by SIGINT; what the last checkpoint lacks is lost\n"
    assert (result.returncode, result.stdout, result.stderr) == (130, "", line)


def test_repeated_signal_of_one_event_counts_once() -> None:
    body = "with signal_handler.deferred():\n    send(signal.SIGTERM)\n    send(signal.SIGTERM)"
    assert process(body + "\n    print('saved')", same=60).stdout == "saved\nSIGTERM\n"


def test_process_that_hangs_in_one_call_still_ends() -> None:
    # A C lock that is taken twice: Python never calls a signal handler there.
    body = "module.EXIT_SECONDS = 0\nlibc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)\n"
    body += "threading.Timer(0.1, send, [signal.SIGTERM]).start()\n"
    body += "with signal_handler.deferred():\n    while True: libc.pthread_mutex_lock(mutex)"
    result = process(body, grace=0.01)
    line = "gmlight: ended at once by SIGTERM; what the last checkpoint lacks is lost\n"
    assert (result.returncode, result.stdout, result.stderr) == (143, "", line)


def test_a_stop_is_resumable_only_inside_its_block_and_once_the_run_has_begun(tmp_path: Path) -> None:
    assert not Stopped(signal.SIGTERM).resumable
    config = tmp_path / "config.yaml"
    for begun in (False, True):
        with pytest.raises(Stopped) as caught, resumable(config):
            raise Stopped(signal.SIGTERM)
        assert caught.value.resumable == begun
        config.touch()


def test_ignored_hangup_stays_ignored_and_handlers_are_restored() -> None:
    before = [signal.getsignal(signum) for signum in SIGNALS]
    hangup = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with SignalHandler().installed():
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) != before[SIGNALS.index(signal.SIGTERM)]
    signal.signal(signal.SIGHUP, hangup)
    assert [signal.getsignal(signum) for signum in SIGNALS] == before
