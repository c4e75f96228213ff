"""Class gradients: the gradient of the mean cross-entropy of each class's images, one tensor per weight.

One loop over blocks of classes and microbatches of images computes all of them. The sizes of these change
the numbers by rounding at most; `engine.py` chooses them for the device.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from gmlight.errors import ConfigError
from gmlight.runtime.autocast import autocast

CONVOLUTION = 4  # dimensions of the weight of a two-dimensional convolution

Layers = dict[str, Tensor]
# As `block_gradients` without `network`: weights, other parameters and buffers,
# images [b, m, channels, H, W], labels [b, m] -> gradients.
BlockGradients = Callable[[Layers, Layers, Tensor, Tensor], Layers]


@dataclass(frozen=True)
class ClassGradients:
    """The gradients g_c of every class c (Algorithm 1, line 7).

    With a mixed batch instead of class batches, layers and sizes have a single entry.

    Args:
        layers: weight name -> [C, *weight.shape].
        sizes: images behind each class's gradient, [C].
        priors: each class's share of the training set, [C].
    """

    layers: Layers
    sizes: Sequence[int]
    priors: Sequence[float]


def matched_weights(network: nn.Module, layers: str | float = "all") -> list[str]:
    """Returns the names of the parameters that are matched, the shallowest first.

    Args:
        network: any network.
        layers: `all`: parameters with two or more dimensions; `conv`: weights of convolutions among them, as
            IDC does; or the share of the deepest among them, in (0, 1], as PAD does, rounded to whole
            parameters, at least one.

    Raises:
        ConfigError: there are none.
    """
    weights = {name: weight for name, weight in network.named_parameters() if weight.ndim >= 2}
    if layers == "conv":
        weights = {name: weight for name, weight in weights.items() if weight.ndim == CONVOLUTION}
        if not weights:
            raise ConfigError("matching.layers=conv: the architecture has no convolutions; use all")
    names = list(weights)
    return names if isinstance(layers, str) else names[-max(1, round(layers * len(names))) :]


@dataclass(frozen=True)
class Blocks:
    """Numbers of classes and images that are differentiated at once; they change results by rounding at most.

    Args:
        microbatch: images of a class at once; None: all.
        classes_per_block: classes at once, by vmap; ignored if classes differ in their number of images.
        compute: returns the summed gradients of one block and microbatch; None: `block_gradients`.
    """

    microbatch: int | None = None
    classes_per_block: int = 1
    compute: BlockGradients | None = None


def class_gradients(
    network: nn.Module,
    images: Tensor | Sequence[Tensor],
    labels: Sequence[Tensor] | None = None,
    *,
    first_class: int = 0,
    create_graph: bool = False,
    weights: Iterable[str] | None = None,
    blocks: Blocks = Blocks(),
) -> Layers:
    """Computes the gradient of each class's mean cross-entropy; no sum over classes (Algorithm 1, line 7).

    Args:
        network: used in its present mode and not changed. An image's output must not depend on the other
            images of its batch, so batch norm must be in eval mode.
        images: [C, n, channels, H, W], or C tensors [n_c, channels, H, W]; class c's images at index c.
        labels: C tensors [n_c], or probabilities [n_c, classes], for batches of mixed classes; None:
            labels are index + `first_class`.
        first_class: label of the images at index 0, if the images are those of some classes only.
        create_graph: whether the gradients can be differentiated with respect to the images.
        weights: names of the parameters to differentiate; None: `matched_weights`.
        blocks: how many images are differentiated at once.

    Returns:
        weight name -> [C, *weight.shape].
    """
    state = {name: parameter.detach() for name, parameter in network.named_parameters()}
    names = list(matched_weights(network) if weights is None else weights)
    differentiated = {name: state.pop(name) for name in names}
    others = state | dict(network.named_buffers())
    compute = blocks.compute or functools.partial(block_gradients, network, create_graph=create_graph)

    def mean_gradients(inputs: Tensor, targets: Tensor) -> Layers:
        size = blocks.microbatch or inputs.shape[1]
        total: Layers = {}
        for part in zip(_microbatches(inputs, size), _microbatches(targets, size), strict=True):
            for name, gradient in compute(differentiated, others, *part).items():
                total[name] = total[name] + gradient if name in total else gradient
        return {name: gradient / inputs.shape[1] for name, gradient in total.items()}

    pairs = _blocks(images, labels, first_class, blocks.classes_per_block)
    gradients = (mean_gradients(inputs, targets) for inputs, targets in pairs)
    if create_graph:
        parts = list(gradients)
        return {name: torch.cat([part[name] for part in parts]) for name in names}
    return join_in_place(gradients, len(images))


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
    """Computes the gradients of each class's summed cross-entropy with respect to the weights.

    Args:
        network: applied as a function of its parameters.
        weights: parameters that are differentiated, by name.
        others: the network's other parameters and its buffers, by name.
        images: [b, m, channels, H, W].
        labels: [b, m].
        create_graph: whether the gradients can be differentiated with respect to the images.
        precision: of convolutions and matrix products, by autocast; None: that of the weights.

    Returns:
        weight name -> [b, *weight.shape].
    """
    loss = functools.partial(_summed_loss, network, precision)
    if len(images) == 1 and not torch.compiler.is_compiling():
        # A single class needs no vmap, and without torch.func autograd keeps only what it needs.
        with torch.enable_grad():
            leaves = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
            gradients = torch.autograd.grad(
                loss(leaves, others, images[0], labels[0]), list(leaves.values()), create_graph=create_graph
            )
        return {name: gradient.unsqueeze(0) for name, gradient in zip(weights, gradients, strict=True)}
    with torch.set_grad_enabled(create_graph):
        if len(images) == 1:
            single = grad(loss)(weights, others, images[0], labels[0])
            return {name: gradient.unsqueeze(0) for name, gradient in single.items()}
        return vmap(grad(loss), in_dims=(None, None, 0, 0))(weights, others, images, labels)


def join_in_place(blocks: Iterable[Layers], classes: int) -> Layers:
    """Joins the gradients of blocks of classes without a second copy, which is costly with many classes.

    Args:
        blocks: weight name -> [c, *weight.shape], of consecutive classes.
        classes: number of classes of all blocks.
    """
    joined: Layers = {}
    first = 0
    for block in blocks:
        count = 0
        for name, gradient in block.items():
            if name not in joined:
                joined[name] = gradient.new_empty(classes, *gradient.shape[1:])
            count = len(gradient)
            joined[name][first : first + count] = gradient
        first += count
    return joined


def _blocks(
    images: Tensor | Sequence[Tensor],
    labels: Sequence[Tensor] | None,
    first_class: int,
    classes_per_block: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    # Yields images [b, n, channels, H, W] and labels [b, n] of each block of classes.
    if isinstance(images, Tensor) and labels is None:
        classes, count = images.shape[:2]
        numbers = torch.arange(first_class, first_class + classes, device=images.device)
        targets = numbers.unsqueeze(1).expand(classes, count)
        yield from zip(images.split(classes_per_block), targets.split(classes_per_block), strict=True)
        return
    for i, batch in enumerate(images):
        label = torch.full((len(batch),), first_class + i, device=batch.device)
        yield batch.unsqueeze(0), (label if labels is None else labels[i]).unsqueeze(0)


def _microbatches(block: Tensor, size: int) -> Sequence[Tensor]:
    # [b, n, ...] -> [b, m, ...] each. A single class has the same strides for any n, so it compiles once.
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
    with autocast(images.device, precision):
        logits = functional_call(network, {**weights, **others}, (images,))
    return cross_entropy(logits.to(images.dtype), labels, reduction="sum")
