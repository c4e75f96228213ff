"""Source of all random draws: one generator per (seed, purpose, indices), no global state.

A draw depends on its purpose and indices alone, not on what ran before it. Resuming, sharding, or evaluating
in another order therefore cannot change a result. Draws are made on the CPU and copied to the device.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def generator(seed: int, purpose: str, *indices: int) -> torch.Generator:
    """Returns a CPU generator for one draw, e.g. `generator(seed, "real-batch", k, t)`.

    Args:
        seed: of the run.
        purpose: name of the draw.
        indices: what tells draws of one purpose apart, such as k and t.
    """
    return torch.Generator().manual_seed(_derive(seed, purpose, *indices))


@contextmanager
def seeded(seed: int, purpose: str, *indices: int) -> Iterator[None]:
    """Seeds torch's global CPU generator inside the block and restores it afterwards.

    For code that takes no generator, such as the initialization of torch's layers. The arguments are those of
    `generator`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(_derive(seed, purpose, *indices))
        yield


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copies a tensor to the device; pinned memory makes copies to a GPU asynchronous."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _derive(seed: int, purpose: str, *indices: int) -> int:
    words = "/".join(map(str, (seed, purpose, *indices)))
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "little", signed=True)
