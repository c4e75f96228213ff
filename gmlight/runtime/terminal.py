"""The terminal that a command writes to: characters that it lacks, and the version."""

import codecs
import contextlib
import sys

import gmlight

_HANDLER = "gmlight.degraded"
_ASCII = str.maketrans(
    {"±": "+-", "…": "...", "→": "->", "≤": "<=", "≥": ">=", "•": "*", "·": ".", "—": "-", "“": '"', "”": '"'}
)


def prepare_terminal() -> None:
    """Lets the standard streams degrade characters that their encoding lacks, instead of failing."""
    codecs.register_error(_HANDLER, _degrade)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # a notebook's streams, for instance, lack it
        if reconfigure is not None:
            with contextlib.suppress(OSError):  # the descriptor may have become another file
                reconfigure(errors=_HANDLER)


def print_version(words: list[str]) -> bool:
    """Prints gmlight's version if the words ask for it.

    Returns:
        Whether they do.
    """
    if "--version" in words:
        print(f"gmlight {gmlight.__version__}")
    return "--version" in words


def _degrade(error: UnicodeError) -> tuple[str, int]:
    # The codec calls it for text that it cannot encode, among it bytes of file names that are no text.
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_ASCII)
    return text.encode("ascii", "backslashreplace").decode(), error.end
