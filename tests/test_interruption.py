"""Signals, in a process of their own."""

import subprocess
import sys

import pytest

SETUP = """
import os, signal, sys
from gmlight import interruption as module
from gmlight.interruption import Stopped, interruption
module.GRACE, module.SAME = {grace}, {same}

def send(signum):
    os.kill(os.getpid(), signum)

try:
    with interruption.installed():
        {body}
        print("to the end")
except Stopped as stopped:
    print(stopped)
    sys.exit(stopped.status)
"""


def process(body: str, grace: float = 60, same: float = -1) -> subprocess.CompletedProcess:
    code = SETUP.format(body=body.replace("\n", "\n        "), grace=grace, same=same)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_ends_what_is_not_deferred(name: str, status: int) -> None:
    result = process(f"send(signal.{name})")
    assert (result.returncode, result.stdout) == (status, f"{name}\n"), result.stderr


def test_what_is_deferred_comes_to_its_end() -> None:
    result = process("with interruption.deferred():\n    send(signal.SIGTERM)\n    print('saved')")
    assert (result.returncode, result.stdout) == (143, "saved\nSIGTERM\n"), result.stderr


def test_inside_what_is_deferred_some_is_not() -> None:
    body = "with interruption.deferred():\n    with interruption.at_once():\n        send(signal.SIGTERM)"
    assert process(body + "\n        print('no')").stdout == "SIGTERM\n"
    body = "with interruption.deferred():\n    send(signal.SIGTERM)\n    with interruption.at_once():"
    assert process(body + "\n        print('no')").stdout == "SIGTERM\n"


def test_grace_has_an_end() -> None:
    result = process(
        "with interruption.deferred():\n    send(signal.SIGINT)\n    while True: pass", grace=0.01
    )
    assert (result.returncode, result.stdout) == (130, "SIGINT\n"), result.stderr


def test_a_second_signal_ends_at_once() -> None:
    body = "with interruption.deferred():\n    send(signal.SIGTERM)\n    send(signal.SIGINT)\n    print('no')"
    result = process(body)
    assert (result.returncode, result.stdout) == (130, ""), result.stderr
    # Unless both are the same event, told twice.
    assert process(body, same=60).stdout == "no\nSIGTERM\n"
