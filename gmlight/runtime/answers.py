"""What a function or class answers about itself, for code that must know it before the part is built."""

from collections.abc import Callable
from typing import Any, TypeVar

Part = TypeVar("Part", bound=Callable[..., Any])


def answers(**attributes: Any) -> Callable[[Part], Part]:
    """Sets attributes of a function, such as `draws_noise=True`."""

    def set_attributes(part: Part) -> Part:
        vars(part).update(attributes)
        return part

    return set_attributes
