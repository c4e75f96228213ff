"""Floating-point operations of a forward pass, as torch counts them; a multiply-add is two."""

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def forward_flops(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Counts the operations of a forward pass of one image [channels, H, W], on the meta device."""
    network = copy.deepcopy(network).to("meta").eval()
    image = torch.empty(1, *shape, dtype=next(network.parameters()).dtype, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(image)
    return counter.get_total_flops()
