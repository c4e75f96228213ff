"""How many images are computed at once, from the bytes of one."""

import pytest
import torch
from torch import nn

from gmlight.runtime import sizing
from gmlight.runtime.sizing import fitting_batch_size, graph_memory, total_memory

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("cache", "image_bytes", "images"), [(1000, 100, 8), (1600, 100, 16), (1599, 100, 8), (99, 100, 1)]
)
def test_a_power_of_two_of_images_fits_the_caches(
    monkeypatch: pytest.MonkeyPatch, cache: int, image_bytes: int, images: int
) -> None:
    monkeypatch.setattr(sizing, "CPU_CACHE", cache)
    monkeypatch.setattr(sizing, "activation_bytes", lambda network, image: image_bytes)
    assert fitting_batch_size(nn.Identity(), torch.zeros(1, 1, 4, 4)) == images


def test_on_an_accelerator_the_graph_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of 2 GiB for images of 1 MiB, of which the backward pass holds some more."""
    monkeypatch.setattr(sizing, "UNKNOWN_MEMORY", 2**31)
    monkeypatch.setattr(sizing, "GPU_SHARE", 0.25)
    monkeypatch.setattr(sizing, "BACKWARD_FACTOR", 4)
    monkeypatch.setattr(sizing, "activation_bytes", lambda network, image: 2**20)
    assert graph_memory(torch.device("meta")) == 2**29
    assert fitting_batch_size(nn.Identity(), torch.zeros(1, 1, 4, 4, device="meta")) == 128


def test_memory_of_a_cpu() -> None:
    assert graph_memory(CPU) == sizing.CPU_GRAPH_MEMORY
    (line,) = [line for line in open("/proc/meminfo") if line.startswith("MemTotal")]  # noqa: SIM115
    assert total_memory(CPU) == pytest.approx(int(line.split()[1]) * 1024, rel=0.01)
