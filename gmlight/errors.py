"""What a person can mend."""


class ConfigError(Exception):
    """A mistake in what was asked for: one line that names the mend; the commands print it and exit 1.

    Attributes:
        told: whether the person at the command line has seen it.
    """

    told = False


class NonFiniteError(ConfigError):
    """The matching loss, a gradient or an image is no longer a finite number."""
