"""Errors that the user can fix."""

import unicodedata

_BIDIRECTIONAL = {*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))}


def one_line(text: object) -> str:
    """Escapes control characters and line ends, so that text from a file cannot act on a terminal."""
    return "".join(c.encode("unicode_escape").decode() if _acts(c) else c for c in str(text))


def _acts(character: str) -> bool:
    return character in _BIDIRECTIONAL or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


class ConfigError(Exception):
    """Invalid input, in one line that names the key and the fix. Commands print it and exit with status 1.

    Attributes:
        reported: whether the command line has already printed it.
    """

    reported = False

    def __str__(self) -> str:
        return one_line(super().__str__())


class NonFiniteError(ConfigError):
    """A matching loss, gradient or image that is not finite."""


class OutOfMemoryError(ConfigError):
    """The memory of the machine or of the accelerator does not suffice."""
