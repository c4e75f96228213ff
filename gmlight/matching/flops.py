"""Floating-point operations per image, of convolutions and matrix products; a multiply-add is two."""

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gmlight.matching.class_gradients import block_gradients, matched_weights
from gmlight.runtime.flops import forward_flops


@dataclass(frozen=True)
class Operations:
    """Floating-point operations per image.

    Args:
        real: of a class gradient on real images.
        synthetic: of a class gradient and of its derivative with respect to the image.
        training: of a step of the network's training.
        testing: of a forward pass.
    """

    real: int
    synthetic: int
    training: int
    testing: int


def count(network: nn.Module, shape: tuple[int, ...], layers: str | float = "all") -> Operations:
    """Counts the operations per image with torch's counter, on the meta device.

    Args:
        network: any network; a copy is counted.
        shape: of an image, (channels, H, W).
        layers: that are matched, as in `matched_weights`.
    """
    network = copy.deepcopy(network).to("meta").eval()
    parameters = {name: parameter.detach() for name, parameter in network.named_parameters()}
    dtype = next(iter(parameters.values())).dtype
    image = torch.empty(1, 1, *shape, dtype=dtype, device="meta")
    label = torch.zeros(1, 1, dtype=torch.long, device="meta")
    weights = {name: parameters[name] for name in matched_weights(network, layers)}
    others = {name: value for name, value in parameters.items() if name not in weights}
    others |= dict(network.named_buffers())

    def count_task(task: str) -> int:
        # Anomaly detection reads values, which tensors on the meta device do not have.
        no_anomalies = torch.autograd.set_detect_anomaly(False)
        with no_anomalies, torch.enable_grad(), FlopCounterMode(display=False) as counter:
            match task:
                case "real":
                    block_gradients(network, weights, others, image, label)
                case "training":
                    block_gradients(network, parameters, dict(network.named_buffers()), image, label)
                case "synthetic":
                    synthetic = image.clone().requires_grad_()
                    layers = block_gradients(network, weights, others, synthetic, label, create_graph=True)
                    torch.autograd.grad([layer.sum() for layer in layers.values()], synthetic)
        return counter.get_total_flops()

    return Operations(
        real=count_task("real"),
        synthetic=count_task("synthetic"),
        training=count_task("training"),
        testing=forward_flops(network, shape),
    )
