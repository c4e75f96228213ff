"""Standard streams that outlive their reader: `| head`, a closed terminal or a full disk ends no run."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO


@contextlib.contextmanager
def lasting_streams() -> Iterator[None]:
    """Drops what is written to the standard streams inside the block from their first error on."""
    before = sys.stdout, sys.stderr
    streams = [_LastingStream(stream or open(os.devnull, "w")) for stream in before]  # noqa: SIM115
    sys.stdout, sys.stderr = streams
    try:
        yield
    finally:
        for stream in streams:
            stream.flush()
        sys.stdout, sys.stderr = before


class _LastingStream:
    """A text stream that never raises OSError."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._dropping():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._dropping():
            self._stream.flush()

    @contextlib.contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            # What is still buffered, and what processes started later write, goes there too.
            with open(os.devnull, "w") as null, contextlib.suppress(OSError):
                os.dup2(null.fileno(), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
