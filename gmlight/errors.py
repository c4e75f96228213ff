"""What a person can mend."""


class ConfigError(Exception):
    """A mistake in what was asked for: one line that names the mend; the commands print it and exit 1.

    Attributes:
        told_by: the process that has printed it.
    """

    told_by: int | None = None


class NonFiniteError(ConfigError):
    """The matching loss, a gradient or an image is no longer a finite number."""
