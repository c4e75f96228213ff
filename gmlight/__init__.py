"""Dataset condensation by effective gradient matching.

Each public name is imported at its first use, so that `import gmlight` is fast.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gmlight.artifacts.condensed_set import CondensedDataset as CondensedDataset
    from gmlight.condensation.condenser import Condenser as Condenser
    from gmlight.data.datamodule import CondensationData as CondensationData
    from gmlight.errors import ConfigError as ConfigError
    from gmlight.library import condense as condense
    from gmlight.library import evaluate as evaluate
    from gmlight.training.evaluator import Evaluator as Evaluator

__version__ = "0.1.0"
_MODULES = {
    "CondensationData": "gmlight.data.datamodule",
    "CondensedDataset": "gmlight.artifacts.condensed_set",
    "Condenser": "gmlight.condensation.condenser",
    "ConfigError": "gmlight.errors",
    "Evaluator": "gmlight.training.evaluator",
    "condense": "gmlight.library",
    "evaluate": "gmlight.library",
}
__all__ = [
    "CondensationData",
    "CondensedDataset",
    "Condenser",
    "ConfigError",
    "Evaluator",
    "__version__",
    "condense",
    "evaluate",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'gmlight' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    # `gmlight.evaluate` is both a function and a command's module. Importing the module must not replace the
    # function.
    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _MODULES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
