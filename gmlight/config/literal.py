"""Keeps text from files literal: OmegaConf resolves `${...}`, and takes `???` for a missing value."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

_RESOLVER = "literal"


def register_literal() -> None:
    """Registers the resolver to which `literal` refers."""
    OmegaConf.register_new_resolver(_RESOLVER, lambda code: bytes.fromhex(code).decode(), replace=True)


def literal(node: Any) -> Any:
    """Copies plain containers, with each text that contains `${` in a form that resolves to the text itself.

    Use it before text from a file enters a configuration. `hydra.utils.instantiate` resolves twice, so that
    such text must not pass through it.
    """
    if isinstance(node, dict):
        return {key: literal(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [literal(entry) for entry in node]
    if isinstance(node, str) and "${" in node:
        return f"${{{_RESOLVER}:'{node.encode().hex()}'}}"  # hexadecimal digits need no escapes
    return node


def class_names(config: DictConfig) -> list[str] | None:
    """Returns `dataset.classes` as a list; None if the names are not known yet."""
    return _plain(config.dataset.classes)


def label_names(config: DictConfig) -> list[str] | None:
    """Returns `dataset.load.names` as a list, the names of the numbers in the files; None: there are none."""
    return _plain(config.dataset.load.get("names"))


def _plain(names: Any) -> Any:
    # Iterating over the node itself would fail at a class that is called `???`.
    return OmegaConf.to_container(names, resolve=True) if OmegaConf.is_config(names) else names
