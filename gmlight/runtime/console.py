"""Terminal output: the console, times, sizes, paths, and numbered lines of parallel runs."""

import contextlib
import glob
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

from gmlight.errors import ConfigError, one_line
from gmlight.runtime.rank import is_main

_LONGEST = 3e11  # seconds, ten thousand years, about the most that timedelta holds
_silent: ContextVar[bool] = ContextVar("_silent", default=False)


def new_console() -> Console:
    """Returns the console for results: silent except on rank 0, text printed without markup."""
    return _InertConsole(markup=False, highlight=False, emoji=False, quiet=_silent.get() or not is_main())


class _InertConsole(Console):
    # Text may come from a stranger's file: its control characters do not reach the terminal.
    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str("\n".join(map(one_line, text.split("\n"))), **options)


@contextlib.contextmanager
def silent(yes: bool = True) -> Iterator[None]:
    """Silences the consoles that are made inside the block.

    Args:
        yes: whether to silence them.
    """
    token = _silent.set(yes)
    try:
        yield
    finally:
        _silent.reset(token)


def format_duration(seconds: float) -> str:
    """Formats seconds as hours, minutes and seconds: `0:01:30`."""
    if seconds > _LONGEST:
        return "over 10,000 years"
    return str(timedelta(seconds=round(seconds)))


def format_bytes(size: float) -> str:
    """Formats a number of bytes: `120 KiB`."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} GiB"


def pluralize(number: int, noun: str) -> str:
    """Formats a count with its noun: `1 network`, `2 networks`, `2 processes`."""
    return f"{number} {noun}" + ("" if number == 1 else "es" if noun.endswith("s") else "s")


def print_path(name: str, path: Path | str, console: Console) -> None:
    """Prints a path, or a command, on one line, so that it can be copied."""
    console.print(f"{name:<8} {relative_path(path) if isinstance(path, Path) else path}", soft_wrap=True)


def relative_path(path: Path) -> Path:
    """Returns a path below the current folder as a relative one, any other path unchanged."""
    with contextlib.suppress(ValueError):
        return path.resolve().relative_to(Path.cwd())
    return path


def matching_folders(patterns: list[str]) -> list[Path]:
    """Returns the folders that match any of the glob patterns, sorted."""
    return sorted({Path(name) for pattern in patterns for name in glob.glob(pattern) if Path(name).is_dir()})


def check_output_paths(paths: dict[str, Path]) -> None:
    """Checks, before any work, that output files are new and that their folders exist.

    Args:
        paths: the files, by the configuration key that names them.

    Raises:
        ConfigError: a file exists, or its folder does not.
    """
    for key, path in paths.items():
        if path.exists():
            raise ConfigError(f"{key}={path}: the file exists; choose another name")
        if not path.parent.is_dir():
            raise ConfigError(f"{key}={path}: the folder {path.parent} does not exist; create it first")


@contextlib.contextmanager
def numbered_output(number: int) -> Iterator[None]:
    """Prefixes each line of output inside the block with the run's number, for parallel runs of a sweep."""
    streams = [_PrefixedStream(stream, f"#{number}  ") for stream in (sys.stdout, sys.stderr)]
    try:
        with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
            yield
    finally:
        for stream in streams:
            stream.finish()


class _PrefixedStream:
    """A text stream that prefixes each line and does not claim to be a terminal."""

    def __init__(self, stream: TextIO, prefix: str) -> None:
        self._stream, self._prefix = stream, prefix
        self._rest = ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        if lines:  # in one write, so that lines of other processes are not mixed in
            self._stream.write("".join(f"{self._prefix}{line}\n" for line in lines))
            self._stream.flush()
        return len(text)

    def finish(self) -> None:
        if self._rest:
            self.write("\n")

    def isatty(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
