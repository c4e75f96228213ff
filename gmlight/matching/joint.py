"""The gradient of the matching loss with respect to the images, with one graph for all classes."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from gmlight.matching.class_gradients import Layers
from gmlight.matching.diagnostics import GradientDiagnosis

# Loss terms by name, from gradients on synthetic and on real images.
LossTerms = Callable[[Layers, Layers], dict[str, Tensor]]
# A context around each named part of the work, such as a profiler's.
Timed = Callable[[str], AbstractContextManager]


def untimed(part: str) -> AbstractContextManager:
    """Returns a context that does nothing."""
    return nullcontext()


@dataclass(frozen=True)
class MatchingResult:
    """The matching loss of one image step and its derivative.

    Args:
        terms: of the loss by name, of all classes, [] each.
        image_gradient: derivative of their sum with respect to the images, of the same shape.
        synthetic: class gradients on the synthetic images, for error messages; empty when chunked.
        diagnostics: metrics of the gradients; empty unless requested.
    """

    terms: dict[str, Tensor]
    image_gradient: Tensor
    synthetic: Layers = field(default_factory=dict)
    diagnostics: dict[str, Tensor] = field(default_factory=dict)

    def of_class(self, c: int) -> "MatchingResult":
        """Keeps the gradient of a class's images, with zeros for all others, and its share of the loss.

        Args:
            c: the class; `image_gradient` is [C, ...].
        """
        gradient = torch.zeros_like(self.image_gradient)
        gradient[c] = self.image_gradient[c]
        terms = {name: term / len(gradient) for name, term in self.terms.items()}
        return replace(self, terms=terms, image_gradient=gradient)


def differentiate(
    images: Tensor,
    synthetic: Layers,
    real: Layers,
    loss_terms: LossTerms,
    *,
    diagnosis: GradientDiagnosis,
    timed: Timed,
) -> MatchingResult:
    """Differentiates the matching loss with respect to the images.

    Args:
        images: the leaf of the synthetic gradients, [..., channels, H, W].
        synthetic: gradients on the images, with a graph; weight name -> [c, *weight.shape].
        real: gradients on real images, weight name -> [c, *weight.shape].
        loss_terms: computes the terms of the matching loss.
        diagnosis: measures the gradients if it is active.
        timed: a context around each part of the work.
    """
    with timed("distance"):
        # The graph from class gradients to the loss is separate from that from images to class gradients.
        leaves = as_leaves(synthetic)
        terms = loss_terms(leaves, real)
        layer_derivatives = derivatives(_total(terms), leaves)
    with timed("synthetic gradients"):
        (gradient,) = torch.autograd.grad(list(synthetic.values()), images, layer_derivatives)
    diagnosis.note_classes(leaves, real)
    diagnosis.note_loss(lambda *pair: _total(loss_terms(*pair)), leaves, real)
    classes = len(next(iter(real.values())))
    detached = {name: term.detach() for name, term in terms.items()}
    return MatchingResult(detached, gradient, leaves, diagnosis.metrics(classes))


def as_leaves(layers: Layers) -> Layers:
    """Detaches the layers and makes them leaves that a loss can be differentiated with respect to."""
    return {name: layer.detach().requires_grad_() for name, layer in layers.items()}


def derivatives(loss: Tensor, leaves: Layers) -> list[Tensor]:
    """Differentiates a loss with respect to each layer; zeros for a layer that it does not depend on."""
    return list(torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True))


def _total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()
