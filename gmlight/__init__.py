"""Dataset condensation by effective gradient matching."""

from gmlight.artifacts.condensed_set import CondensedDataset

__version__ = "0.1.0"
__all__ = ["CondensedDataset", "__version__"]
