"""What a part of a configuration answers about itself, before it is built."""

from typing import Any

import hydra
from omegaconf import DictConfig


def answer(node: DictConfig, question: str, default: Any = False) -> Any:
    """Asks the function or class that the node names for an attribute.

    Args:
        node: of the configuration.
        question: name of the attribute, such as `draws_noise`.
        default: if the part has no such attribute, or cannot be imported (building it reports the error).
    """
    try:
        part = hydra.utils.get_object(node["_target_"])
    except Exception:
        return default
    return getattr(part, question, default)
