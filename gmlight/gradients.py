"""Class gradients: the gradient of the mean cross-entropy of each class's images, one tensor per weight."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

Layers = dict[str, Tensor]


@dataclass(frozen=True)
class ClassGradients:
    """The gradients g_c of every class c (Algorithm 1, line 7).

    layers: weight name -> [C, *weight.shape]. sizes: images behind each class's gradient, [C].
    priors: each class's share of the training set, [C].
    Where a mixed batch stands in for the class batches, layers and sizes have one entry, for its gradient.
    """

    layers: Layers
    sizes: Sequence[int]
    priors: Sequence[float]


def matched_weights(network: nn.Module) -> list[str]:
    """Names of the parameters whose gradients are compared: those with two or more dimensions."""
    return [name for name, parameter in network.named_parameters() if parameter.ndim >= 2]


def class_gradients(
    network: nn.Module,
    images: Tensor | Sequence[Tensor],
    *,
    create_graph: bool = False,
    weights: Iterable[str] | None = None,
    labels: Sequence[Tensor] | None = None,
) -> Layers:
    """Gradient of each class's mean cross-entropy; sum over no classes (Algorithm 1, line 7).

    Args:
        network: in the mode and with the buffers it is to be used with; no parameter of it is changed.
        images: [C, n, channels, H, W], or C tensors [n_c, channels, H, W]; class c's images at index c.
        create_graph: whether the gradients can be differentiated with respect to the images.
        weights: names of the parameters to differentiate; null: `matched_weights`.
        labels: of each batch of images, where it is not that of one class.

    Returns:
        weight name -> [C, *weight.shape].
    """
    # Only the named weights ask for a gradient, so that none is computed where none is used.
    parameters = {name: parameter.detach() for name, parameter in network.named_parameters()}
    names = list(matched_weights(network) if weights is None else weights)
    for name in names:
        parameters[name] = parameters[name].requires_grad_()
    targets = [parameters[name] for name in names]

    by_class = []
    for c, batch in enumerate(images):
        logits = functional_call(network, parameters, (batch,))
        of_batch = torch.full((len(batch),), c, device=batch.device) if labels is None else labels[c]
        loss = cross_entropy(logits, of_batch)
        by_class.append(torch.autograd.grad(loss, targets, create_graph=create_graph))
    return {name: torch.stack([gradients[i] for gradients in by_class]) for i, name in enumerate(names)}
