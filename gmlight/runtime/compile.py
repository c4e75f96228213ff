"""torch.compile for the functions where a run spends its time, with the plain function to fall back on."""

import importlib.util
import logging
import os
import shutil
import sys
import time
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

WORTH_COMPILING = 2e13  # operations, about a minute on two cores: from there on ten seconds of compiling pay


class Compilation:
    """Whether this run compiles its hot functions.

    Args:
        choice: true, false, or `auto`: on a CPU, from so many operations on that it pays.
        notify: called with a line on each compilation, and one where no compiler is found.
    """

    def __init__(self, choice: bool | str, notify: Callable[[str], None]) -> None:
        self._choice, self.notify = choice, notify

    def pays(self, operations: Callable[[], float], device: torch.device) -> bool:
        """Whether to compile a function that will do so many floating-point operations on the device in all.

        A function of its arguments and the machine, not of a clock: the same run gives the same numbers.
        """
        if self._choice == "auto":
            wanted = device.type == "cpu" and operations() > WORTH_COMPILING
        else:
            wanted = bool(self._choice)
        lacking = compiler_lacks(device) if wanted else None
        if lacking is not None:
            self.notify(f"speed.compile={str(self._choice).lower()}: not compiled, for want of {lacking}")
            self._choice = False  # said once
        return wanted and lacking is None


def compiler_lacks(device: torch.device) -> str | None:
    """What torch.compile needs for the device and does not find here, in words; null: nothing."""
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")  # as torch looks
    if shutil.which(compiler) is None:
        return f"the C++ compiler {compiler} (install it or set CXX)"
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        return "triton (pip install triton)"
    return None


class Compiled:
    """A function of nests of tensors, compiled for the shapes of its first call.

    Calls with other shapes, such as a last, smaller batch, run the function as it is, and so do all calls
    where it cannot be compiled. On a GPU the compiled function is replayed as CUDA graphs; this has only been
    written, not yet been run.

    Args:
        function: pure; called without gradients.
        what: its name in messages. notify: called with a line on how long it took, or why it failed.
    """

    def __init__(self, function: Callable[..., Any], what: str, notify: Callable[[str], None]) -> None:
        self._function, self._what, self._notify = function, what, notify
        self._compiled: Callable[..., Any] | None = None
        self._shapes: list[torch.Size] | None = None

    @property
    def active(self) -> bool:
        """Whether the function was compiled."""
        return self._compiled is not None

    def __call__(self, *arguments: Any) -> Any:
        shapes = [leaf.shape for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor)]
        if self._shapes is None:
            self._shapes = shapes
            return self._first(*arguments)
        if self._compiled is None or shapes != self._shapes:
            return self._function(*arguments)
        return self._compiled(*arguments)

    def _first(self, *arguments: Any) -> Any:
        # torch notes in a log that it looks for CUDA also where it compiles for the CPU.
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        on_gpu = any(leaf.is_cuda for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor))
        mode = "reduce-overhead" if on_gpu else "default"
        compiled = torch.compile(_of_its_own(self._function), fullgraph=True, dynamic=False, mode=mode)
        started = time.monotonic()
        try:
            result = compiled(*arguments)
        except Exception as error:  # whatever it is: where the function itself is at fault, it fails below
            result = self._function(*arguments)
            reason = next(filter(None, str(error).splitlines()), type(error).__name__)
            self._notify(f"{self._what} cannot be compiled and runs as it is: {reason}")
            return result
        # A CUDA graph writes its outputs to the same memory each time.
        self._compiled = (lambda *args: _cloned(compiled(*args))) if on_gpu else compiled
        self._notify(f"compiled {self._what} in {time.monotonic() - started:.1f} s")
        return _cloned(result)


def _of_its_own(function: Callable[..., Any]) -> Callable[..., Any]:
    # torch compiles one piece of code only so many times in a process, and a partial shares its code with all
    # others: in a sweep, or with many architectures, the later ones would not be compiled.
    def call(*arguments: Any) -> Any:
        return function(*arguments)

    return types.FunctionType(call.__code__.replace(), call.__globals__, closure=call.__closure__)


def _cloned(outputs: Any) -> Any:
    return tree_map_only(Tensor, Tensor.clone, outputs)
