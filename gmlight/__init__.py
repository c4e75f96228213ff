"""Dataset condensation by effective gradient matching."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gmlight.artifacts.condensed_set import CondensedDataset

__version__ = "0.1.0"
__all__ = ["CondensedDataset", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "CondensedDataset":  # torch is loaded when it is asked for: the commands start without it
        from gmlight.artifacts.condensed_set import CondensedDataset

        return CondensedDataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
