"""Batch sizes that fit a device's caches or memory, from the bytes that a forward pass keeps."""

import math
import os

import torch
from torch import Tensor, nn

CPU_CACHE = 48 * 2**20  # bytes of activations; larger batches are up to a quarter slower on two cores
CPU_GRAPH_MEMORY = 2 * 2**30  # bytes, for the graphs of synthetic images' gradients
GPU_SHARE = 0.5  # share of the memory for the activations of one microbatch
UNKNOWN_MEMORY = 8 * 2**30  # bytes, assumed for accelerators other than CUDA
BACKWARD_FACTOR = 4  # differentiating a gradient keeps about this many times what the forward pass keeps


def fitting_batch_size(network: nn.Module, image: Tensor) -> int:
    """Returns the largest power of two of images whose activations fit the CPU's caches or the GPU's memory.

    The result depends on the device and the shapes, not on the free memory, so the same run gives the same
    numbers.

    Args:
        network: on the device of the image.
        image: one image, [1, channels, H, W].
    """
    image_bytes = activation_bytes(network, image)
    if image.device.type == "cpu":
        fitting = CPU_CACHE // image_bytes
    else:
        fitting = graph_memory(image.device) // (image_bytes * BACKWARD_FACTOR)
    return 2 ** int(math.log2(max(1, fitting)))


def graph_memory(device: torch.device) -> int:
    """Returns the bytes that activations and graphs may take at once on the device."""
    if device.type == "cpu":
        return CPU_GRAPH_MEMORY
    return int((total_memory(device) if device.type == "cuda" else UNKNOWN_MEMORY) * GPU_SHARE)


def total_memory(device: torch.device) -> int:
    """Returns the bytes of memory of a GPU; for other devices, of the machine."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def activation_bytes(network: nn.Module, image: Tensor) -> int:
    """Returns the bytes that a forward pass of one image [1, channels, H, W] keeps for the backward pass."""
    parameter_storage = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    sizes: dict[int, int] = {}

    def record(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in parameter_storage:
            sizes[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        output = network(image)  # keeps the graph alive, so that no address is used twice
    del output
    return max(1, sum(sizes.values()))
