"""Every random draw comes from here: a generator per (seed, purpose, indices), never a running state.

A draw then depends on what it is for and on nothing that ran before it, so that resuming, sharding or
evaluating in another order cannot change a result. Draws are made on the CPU and moved.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def generator(seed: int, purpose: str, *indices: int) -> torch.Generator:
    """A CPU generator for one draw, e.g. `generator(seed, "real-batch", k, t)`."""
    return torch.Generator().manual_seed(_derive(seed, purpose, *indices))


@contextmanager
def seeded(seed: int, purpose: str, *indices: int) -> Iterator[None]:
    """Seeds torch's global CPU generator inside the block and gives it back as it was.

    For code that takes no generator: the initialization of torch's own layers.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(_derive(seed, purpose, *indices))
        yield


def moved(drawn: Tensor, device: torch.device) -> Tensor:
    """What was drawn, on the device; through pinned memory, so that nobody waits for a GPU to be idle."""
    if device.type == "cuda" and drawn.device.type == "cpu":
        return drawn.pin_memory().to(device, non_blocking=True)
    return drawn.to(device)


def _derive(seed: int, purpose: str, *indices: int) -> int:
    words = "/".join(map(str, (seed, purpose, *indices)))
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "little", signed=True)
