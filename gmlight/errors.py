"""Errors that the user can correct."""


class ConfigError(Exception):
    """Invalid input: one line that names the key and the mend. The commands print it and exit 1.

    Attributes:
        reported: whether the command line has already printed it.
    """

    reported = False


class NonFiniteError(ConfigError):
    """The matching loss, a gradient or an image is no longer a finite number."""
