"""The same bits from the same run on an NVIDIA GPU, as on a CPU."""

import os

import torch


def use_deterministic_kernels(device: torch.device) -> None:
    """Makes CUDA choose kernels that add in a fixed order; does nothing for other devices.

    By default, cuDNN and torch may add the parts of a sum in any order, and a run gives other images each
    time. A layer that has no such kernel runs as before, with a warning of torch. Call it before the first
    computation on the GPU.

    Args:
        device: of the run.
    """
    if device.type != "cuda":
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # asked for by cuBLAS
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False  # it chooses kernels by their time
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # costs time
