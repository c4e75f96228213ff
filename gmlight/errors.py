"""Errors that the user can fix."""


class ConfigError(Exception):
    """Invalid input, in one line that names the key and the fix. Commands print it and exit with status 1.

    Attributes:
        reported: whether the command line has already printed it.
    """

    reported = False


class NonFiniteError(ConfigError):
    """A matching loss, gradient or image that is not finite."""
