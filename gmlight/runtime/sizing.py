"""Batch sizes that fit a device's caches or memory, from byte counts of a forward pass."""

import math

import torch
from torch import Tensor, nn

CPU_CACHE = 48 * 2**20  # bytes of activations at once: on two cores more is no faster, a quarter slower
CPU_GRAPHS = 2 * 2**30  # bytes, of the synthetic images whose gradients are differentiated
GPU_SHARE = 0.5  # of the memory, for the activations of one microbatch
OTHER_MEMORY = 8 * 2**30  # bytes, of accelerators that do not tell
KEPT_AGAIN = 4  # a gradient and its derivative keep about as many times what the forward pass keeps


def images_at_once(network: nn.Module, image: Tensor) -> int:
    """A power of two: images whose activations the caches of a CPU or the memory of an accelerator hold.

    By device and shapes alone, not by what is free at the moment: the same run gives the same numbers.
    """
    kept = kept_bytes(network, image)
    if image.device.type == "cpu":
        fitting = CPU_CACHE // kept
    else:
        fitting = memory_for_graphs(image.device) // (kept * KEPT_AGAIN)
    return 2 ** int(math.log2(max(1, fitting)))


def memory_for_graphs(device: torch.device) -> int:
    """Bytes that activations and what is kept to differentiate them may take at once."""
    if device.type == "cpu":
        return CPU_GRAPHS
    cuda = device.type == "cuda"
    memory = torch.cuda.get_device_properties(device).total_memory if cuda else OTHER_MEMORY
    return int(memory * GPU_SHARE)


def kept_bytes(network: nn.Module, image: Tensor) -> int:
    """Bytes that the forward pass of one image [1, channels, H, W] keeps for the backward pass."""
    of_network = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in of_network:
            sizes[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        kept = network(image)  # the graph lives until the sizes are known, so that no address comes twice
    del kept
    return max(1, sum(sizes.values()))
