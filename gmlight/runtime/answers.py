"""Properties that a function or class declares about itself, readable before it is called."""

from collections.abc import Callable
from typing import Any, TypeVar

Part = TypeVar("Part", bound=Callable[..., Any])


def answers(**attributes: Any) -> Callable[[Part], Part]:
    """Declares properties of a function or class as attributes, such as `draws_noise=True`; a decorator."""

    def set_attributes(part: Part) -> Part:
        vars(part).update(attributes)
        return part

    return set_attributes
