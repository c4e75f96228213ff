"""Faster, less exact precision of convolutions and matrix products."""

from contextlib import AbstractContextManager, nullcontext

import torch


def autocast_type(name: str) -> torch.dtype | None:
    """Translates `bfloat16` to its type; other precisions need no autocast: None."""
    return torch.bfloat16 if name == "bfloat16" else None


def autocast(device: torch.device, precision: torch.dtype | None) -> AbstractContextManager[object]:
    """Returns a context in which products on the device have a precision; None: that of their operands."""
    return nullcontext() if precision is None else torch.autocast(device.type, precision)
