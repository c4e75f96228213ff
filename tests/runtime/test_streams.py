"""Standard streams whose reader goes away."""

import io
import os
import sys
from collections.abc import Iterator

import pytest

from gmlight.runtime.streams import lasting_streams


@pytest.fixture
def ends() -> Iterator[tuple[int, io.TextIOWrapper]]:
    """The reading end of a pipe, and a text stream that writes to it."""
    read_end, write_end = os.pipe()
    stream = os.fdopen(write_end, "w")
    yield read_end, stream
    stream.close()


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_output_is_dropped_once_the_reader_is_gone(
    ends: tuple[int, io.TextIOWrapper], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    read_end, stream = ends
    monkeypatch.setattr(sys, name, stream)
    with lasting_streams():
        print("read", file=getattr(sys, name), flush=True)
        assert os.read(read_end, 100) == b"read\n"
        os.close(read_end)
        for _ in range(3):
            print("x" * 10_000, file=getattr(sys, name), flush=True)
        print("left in the buffer", file=getattr(sys, name))
    assert getattr(sys, name) is stream
    stream.flush()  # as at the end of the process


def test_full_disk_drops_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with lasting_streams():
            print("lost", flush=True)
            assert sys.stdout.isatty() is False
            assert sys.stdout.encoding == full.encoding


def test_closed_streams_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)  # as Python does for `>&-`
    with lasting_streams():
        print("nowhere")
        assert sys.stdout.write("nowhere") == 7
