"""Reads attributes of the parts that a configuration names, before the parts are built."""

from typing import Any

import hydra
from omegaconf import DictConfig


def answer(node: DictConfig, question: str, default: Any = False) -> Any:
    """Reads an attribute of the function or class that a node names.

    Args:
        node: the part's configuration, with `_target_`.
        question: name of the attribute, such as `draws_noise`.
        default: returned if the part lacks the attribute or cannot be imported; building the part reports
            the import error.

    Returns:
        The attribute's value.
    """
    try:
        part = hydra.utils.get_object(node["_target_"])
    except Exception:
        return default
    return getattr(part, question, default)


def option_name(node: DictConfig) -> str:
    """Names a part in messages: by the option that it says it is, else by its function or class."""
    return answer(node, "option", answer(node, "__name__", "user-defined"))
