"""torch.compile for the hot functions of a run, with the uncompiled function as the fallback."""

import importlib.util
import logging
import math
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

MIN_OPERATIONS = 2e13  # about a minute on two cores; compiling takes about ten seconds
TOLERANCE = 1e-3  # relative; rounding of float32 is below 1e-5
TINY = 1e-30  # keeps a division by zero out


class Compilation:
    """Decides which functions are compiled in a run (`speed.compile`).

    Args:
        choice: True, False, or `auto`: on a CPU, functions that do more than MIN_OPERATIONS.
        notify: called with one line per compilation, and with one line if there is no compiler.
    """

    def __init__(self, choice: bool | str, notify: Callable[[str], None]) -> None:
        self._choice, self.notify = choice, notify

    def should_compile(self, operations: Callable[[], float], device: torch.device) -> bool:
        """Decides whether to compile a function.

        The decision never depends on a timing, so the same run gives the same numbers.

        Args:
            operations: returns the floating-point operations that the function does in the whole run.
            device: where it runs.
        """
        if self._choice == "auto":
            requested = device.type == "cpu" and operations() > MIN_OPERATIONS
        else:
            requested = bool(self._choice)
        missing = missing_compiler(device) if requested else None
        if missing is not None:
            self.notify(f"speed.compile={str(self._choice).lower()}: not compiled, {missing} is missing")
            self._choice = False  # notify once
        return requested and missing is None


def missing_compiler(device: torch.device) -> str | None:
    """Names the program or package that torch.compile lacks for the device; None if nothing is missing."""
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")  # torch's order
    if shutil.which(compiler) is None:
        return f"the C++ compiler {compiler} (install it or set CXX)"
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        return "triton (pip install triton)"
    return None


class Compiled:
    """A function of nested tensors, compiled for the shapes of its first call.

    Calls with other shapes, such as a smaller last batch, run the uncompiled function. If the compilation
    fails, or the compiled function computes other numbers at the first call, all calls do. On a GPU the
    compiled function is replayed as CUDA graphs.

    Args:
        function: a pure function; called without gradients.
        name: name of the function, for messages.
        notify: called with one line: the seconds of the compilation, or the reason for its failure.
        tolerance: largest relative difference between compiled and uncompiled numbers.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        notify: Callable[[str], None],
        tolerance: float = TOLERANCE,
    ) -> None:
        self._function, self._name, self._notify, self._tolerance = function, name, notify, tolerance
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
            return self._compile_and_call(*arguments)
        if self._compiled is None or shapes != self._shapes:
            return self._function(*arguments)
        return self._compiled(*arguments)

    def _compile_and_call(self, *arguments: Any) -> Any:
        # torch logs its search for CUDA even when it compiles for the CPU.
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        on_gpu = any(leaf.is_cuda for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor))
        mode = "reduce-overhead" if on_gpu else "default"
        compiled = torch.compile(_with_copied_code(self._function), fullgraph=True, dynamic=False, mode=mode)
        started = time.monotonic()
        try:
            result = compiled(*arguments)
        except Exception as error:  # an error of the function itself is raised again below
            result = self._function(*arguments)
            reason = next(filter(None, str(error).splitlines()), type(error).__name__)
            self._notify(f"{self._name} cannot be compiled and runs uncompiled: {reason}")
            return result
        expected = self._function(*arguments)
        difference = _relative_difference(result, expected)
        if difference > self._tolerance:
            self._notify(
                f"{self._name} runs uncompiled: torch {torch.__version__} compiles it wrongly on this "
                f"machine (relative difference {difference:.1e})"
            )
            return expected
        # A CUDA graph writes its outputs to the same memory at each call.
        self._compiled = (lambda *args: _cloned(compiled(*args))) if on_gpu else compiled
        self._notify(f"compiled {self._name} in {time.monotonic() - started:.1f} s")
        return _cloned(result)


def _with_copied_code(function: Callable[..., Any]) -> Callable[..., Any]:
    # torch limits how often it compiles one code object in a process, and partials of a function share one.
    # With a copy, the later functions of a sweep or of many architectures are compiled too.
    def call(*arguments: Any) -> Any:
        return function(*arguments)

    return types.FunctionType(call.__code__.replace(), call.__globals__, closure=call.__closure__)


def _relative_difference(outputs: Any, expected: Any) -> float:
    # Of all tensors together; infinite if numbers are not finite where the expected ones are.
    pairs = list(zip(tree_leaves(outputs), tree_leaves(expected), strict=True))
    difference, size = (
        math.sqrt(sum(float(values.square().sum()) for values in tensors))
        for tensors in ([one - other for one, other in pairs], [other for _, other in pairs])
    )
    if not math.isfinite(size):
        return 0  # the function itself fails, which is reported elsewhere
    return difference / max(size, TINY) if math.isfinite(difference) else math.inf


def _cloned(outputs: Any) -> Any:
    return tree_map_only(Tensor, Tensor.clone, outputs)
