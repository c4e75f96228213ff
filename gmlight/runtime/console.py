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

from gmlight.errors import ConfigError
from gmlight.runtime.distributed import is_main

_silent: ContextVar[bool] = ContextVar("_silent", default=False)


def new_console() -> Console:
    """Where results are printed, by rank 0: text as it is, no word of it taken for markup."""
    return Console(markup=False, highlight=False, quiet=_silent.get() or not is_main())


@contextlib.contextmanager
def silent(yes: bool = True) -> Iterator[None]:
    """Inside, new consoles print nothing."""
    token = _silent.set(yes)
    try:
        yield
    finally:
        _silent.reset(token)


def clock(seconds: float) -> str:
    """`0:01:30`."""
    return str(timedelta(seconds=round(seconds)))


def in_bytes(size: float) -> str:
    """`120 KiB`."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} GiB"


def counted(number: int, things: str) -> str:
    """`1 network`, `2 networks`."""
    return f"{number} {things}" + ("" if number == 1 else "s")


def print_path(name: str, path: Path | str, console: Console) -> None:
    """A path, or how to get to one, to copy: never broken into lines."""
    console.print(f"{name:<8} {short(path) if isinstance(path, Path) else path}", soft_wrap=True)


def short(path: Path) -> Path:
    """Relative where it lies below the current folder."""
    with contextlib.suppress(ValueError):
        return path.resolve().relative_to(Path.cwd())
    return path


def folders_named(patterns: list[str]) -> list[Path]:
    """The folders that any of the globs names, in order."""
    return sorted({Path(name) for pattern in patterns for name in glob.glob(pattern) if Path(name).is_dir()})


def refuse_bad_paths(paths: dict[str, Path]) -> None:
    """Before anything is done: nothing is written over, and every file can be written.

    Args:
        paths: by the key that names them.

    Raises:
        ConfigError: names the key and the mend.
    """
    for key, path in paths.items():
        if path.exists():
            raise ConfigError(f"{key}={path}: is there already; name another file")
        if not path.parent.is_dir():
            raise ConfigError(f"{key}={path}: there is no folder {path.parent}; make it first")


@contextlib.contextmanager
def numbered_streams(number: int) -> Iterator[None]:
    # Runs of a sweep that share a terminal: each line says whose it is.
    streams = [_Numbered(stream, f"#{number}  ") for stream in (sys.stdout, sys.stderr)]
    try:
        with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
            yield
    finally:
        for stream in streams:
            stream.finish()


class _Numbered:
    """A stream that puts a prefix before each line, and is no terminal."""

    def __init__(self, stream: TextIO, prefix: str) -> None:
        self._stream, self._prefix = stream, prefix
        self._rest = ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        if lines:  # in one piece, so that no other process comes between
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
