"""Class gradients: the gradient of the mean cross-entropy of each class's images, one tensor per weight.

One loop over blocks of classes and microbatches of images computes all of them. The sizes of these change no
number but by rounding; `engine.py` chooses them for the device.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

Layers = dict[str, Tensor]
# As `block_gradients`: weights, other parameters and buffers, images [b, m, channels, H, W], labels [b, m].
BlockGradients = Callable[[Layers, Layers, Tensor, Tensor], Layers]


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
    first: int = 0,
    microbatch: int | None = None,
    classes_per_block: int = 1,
    of_block: BlockGradients | None = None,
) -> Layers:
    """Gradient of each class's mean cross-entropy; sum over no classes (Algorithm 1, line 7).

    Args:
        network: in the mode and with the buffers it is to be used with, where an image's output must not
            depend on the other images of its batch; nothing of it is changed.
        images: [C, n, channels, H, W], or C tensors [n_c, channels, H, W]; class c's images at index c.
        first: the class that is at index 0, where these are some of the classes.
        create_graph: whether the gradients can be differentiated with respect to the images.
        weights: names of the parameters to differentiate; null: `matched_weights`.
        labels: of each batch of images, [n_c] each, where it is not that of one class.
        microbatch: images of a class at once; null: all.
        classes_per_block: classes at once, by vmap; 1 where classes differ in their number of images.
        of_block: computes the summed gradients of one block and microbatch, where `block_gradients` does not.

    Returns:
        weight name -> [C, *weight.shape].
    """
    state = {name: parameter.detach() for name, parameter in network.named_parameters()}
    names = list(matched_weights(network) if weights is None else weights)
    chosen = {name: state.pop(name) for name in names}
    others = state | dict(network.named_buffers())
    if of_block is None:
        of_block = functools.partial(block_gradients, network, create_graph=create_graph)

    blocks: list[Layers] = []
    whole: Layers = {}
    first_of_block = 0
    for inputs, targets in _blocks(images, labels, first, classes_per_block):
        count = inputs.shape[1]
        size = microbatch or count
        total: Layers = {}
        for part in zip(_microbatches(inputs, size), _microbatches(targets, size), strict=True):
            for name, gradient in of_block(chosen, others, *part).items():
                total[name] = total[name] + gradient if name in total else gradient
        block = {name: gradient / count for name, gradient in total.items()}
        if create_graph:
            blocks.append(block)
            continue
        # Into their place: with many classes a copy of all of them would be felt.
        for name, gradient in block.items():
            if name not in whole:
                whole[name] = gradient.new_empty(len(images), *gradient.shape[1:])
            whole[name][first_of_block : first_of_block + len(gradient)] = gradient
        first_of_block += len(inputs)
    return {name: torch.cat([block[name] for block in blocks]) for name in names} if create_graph else whole


def block_gradients(
    network: nn.Module,
    weights: Layers,
    others: Layers,
    images: Tensor,
    labels: Tensor,
    *,
    create_graph: bool = False,
    precision: torch.dtype | None = None,
) -> Layers:
    """Gradients of each class's summed cross-entropy with respect to the weights.

    Args:
        weights: what is differentiated. others: the network's other parameters and buffers.
        images: [b, m, channels, H, W]. labels: [b, m].
        precision: of convolutions and matrix products, by autocast; null: that of the weights.

    Returns:
        weight name -> [b, *weight.shape].
    """
    loss = functools.partial(_summed_loss, network, precision)
    if len(images) == 1 and not torch.compiler.is_compiling():
        # One class alone needs no vmap, and without torch.func autograd keeps only what it needs.
        with torch.enable_grad():
            leaves = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
            gradients = torch.autograd.grad(
                loss(leaves, others, images[0], labels[0]), list(leaves.values()), create_graph=create_graph
            )
        return {name: gradient.unsqueeze(0) for name, gradient in zip(weights, gradients, strict=True)}
    with torch.set_grad_enabled(create_graph):
        if len(images) == 1:
            of_class = grad(loss)(weights, others, images[0], labels[0])
            return {name: gradient.unsqueeze(0) for name, gradient in of_class.items()}
        return vmap(grad(loss), in_dims=(None, None, 0, 0))(weights, others, images, labels)


def _blocks(
    images: Tensor | Sequence[Tensor], labels: Sequence[Tensor] | None, first: int, classes_per_block: int
) -> Iterator[tuple[Tensor, Tensor]]:
    # Images [b, n, channels, H, W] and labels [b, n] of each block of classes.
    if isinstance(images, Tensor) and labels is None:
        classes, count = images.shape[:2]
        every = torch.arange(first, first + classes, device=images.device).unsqueeze(1).expand(classes, count)
        yield from zip(images.split(classes_per_block), every.split(classes_per_block), strict=True)
        return
    for i, batch in enumerate(images):
        of_batch = torch.full((len(batch),), first + i, device=batch.device) if labels is None else labels[i]
        yield batch.unsqueeze(0), of_batch.unsqueeze(0)


def _microbatches(block: Tensor, size: int) -> Sequence[Tensor]:
    # [b, n, ...] -> [b, m, ...] each; of one class with the same strides whatever its n: one compilation.
    if len(block) == 1:
        return [part.unsqueeze(0) for part in block[0].split(size)]
    return block.split(size, 1)


def _summed_loss(
    network: nn.Module,
    precision: torch.dtype | None,
    weights: Mapping[str, Tensor],
    others: Mapping[str, Tensor],
    images: Tensor,
    labels: Tensor,
) -> Tensor:
    with nullcontext() if precision is None else torch.autocast(images.device.type, precision):
        logits = functional_call(network, {**weights, **others}, (images,))
    return cross_entropy(logits.to(images.dtype), labels, reduction="sum")
