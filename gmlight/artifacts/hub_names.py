"""Names of condensed sets on Hugging Face's hub: `hf://user/name`, or `hf://user/name@revision`."""

import re

from gmlight.errors import ConfigError

_PREFIX = "hf://"
_REPOSITORY = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"


def is_hub_name(path: object) -> bool:
    """Whether a text names a set on the hub."""
    return isinstance(path, str) and path.startswith(_PREFIX)


def parse_hub_name(name: str) -> tuple[str, str | None]:
    """Splits `hf://user/name@revision` into the repository, `user/name`, and the revision; None: the default.

    Raises:
        ConfigError: it has another form.
    """
    found = re.fullmatch(rf"{_PREFIX}({_REPOSITORY})(?:@([\w./-]+))?", name, re.ASCII)
    if found is None or ".." in name:
        raise ConfigError(f"{name}: must be hf://user/name, or hf://user/name@revision")
    return found[1], found[2]


def check_repository(key: str, name: object) -> str:
    """Checks the name of a repository to upload to, and returns it.

    Raises:
        ConfigError: it is not `user/name`.
    """
    if not isinstance(name, str) or not re.fullmatch(_REPOSITORY, name, re.ASCII) or ".." in name:
        raise ConfigError(f"{key}={name}: must be user/name, a repository of datasets on the hub")
    return name
