"""What is matched: gradients within classes, between classes, or both (section 3.1).

A rule takes the class gradients on synthetic and on real images, a distance and the outer iteration k, and
returns the terms of the matching loss by name; the loss is their sum.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gmlight.matching.class_gradients import ClassGradients, Layers
from gmlight.matching.distances import Distance

Matching = Callable[[ClassGradients, ClassGradients, Distance, int], dict[str, Tensor]]


@dataclass(frozen=True)
class Levels:
    """A rule at one outer iteration, taken apart: what concerns each class alone, and what their means.

    inter_weight, class_weights: as in `inter`.
    """

    within: bool
    between: bool
    inter_weight: float | None = None
    class_weights: str | Sequence[float] = "equal"

    def weight(self, classes: int) -> float:
        """lambda."""
        return classes if self.inter_weight is None else self.inter_weight


def levels(rule: Matching, k: int) -> Levels | None:
    """One of this module's rules, with its options, taken apart; null: a rule of somebody's own."""
    options = rule.keywords if isinstance(rule, functools.partial) else {}
    function = rule.func if isinstance(rule, functools.partial) else rule
    within_and_between = {
        intra: (True, False),
        inter: (False, True),
        interleaved: (k % 2 == 0, k % 2 == 1),
        multilevel: (True, True),
    }
    return Levels(*within_and_between[function], **options) if function in within_and_between else None


def distances_within(synthetic: Layers, real: Layers, distance: Distance) -> Tensor:
    """Of each class the distance between its gradients, summed over layers: [C, *weight.shape] -> [C]."""
    layers = [
        distance(gradients.flatten(2), real[name].flatten(2))  # [C, out, length] -> [C]
        for name, gradients in synthetic.items()
    ]
    return torch.stack(layers).sum(0)


def distance_between(synthetic: Layers, real: Layers, distance: Distance, weight: float) -> Tensor:
    """lambda times the distance between two means, summed over layers: [*weight.shape] -> []."""
    layers = [
        distance(gradient.flatten(1), real[name].flatten(1))  # [out, length] -> []
        for name, gradient in synthetic.items()
    ]
    return weight * torch.stack(layers).sum()


def intra(synthetic: ClassGradients, real: ClassGradients, distance: Distance, k: int) -> dict[str, Tensor]:
    """Sum over classes of the distance between their gradients (Eq. 4)."""
    return {"intra": distances_within(synthetic.layers, real.layers, distance).sum()}


def inter(
    synthetic: ClassGradients,
    real: ClassGradients,
    distance: Distance,
    k: int,
    *,
    inter_weight: float | None,
    class_weights: str | Sequence[float],
) -> dict[str, Tensor]:
    """lambda times the distance between the weighted means of the class gradients (second term of Eq. 6).

    Args:
        inter_weight: lambda; null: the number of classes.
        class_weights: `equal` (1/C), `priors`, `batch` (Eq. 5: by the size of each class's batch, which
            equals the gradient on the union of the batches), or the C weights themselves.
    """
    weight = Levels(False, True, inter_weight).weight(len(real.priors))
    mean_synthetic, mean_real = (_mean_over_classes(each, class_weights) for each in (synthetic, real))
    return {"inter": distance_between(mean_synthetic, mean_real, distance, weight)}


def interleaved(
    synthetic: ClassGradients,
    real: ClassGradients,
    distance: Distance,
    k: int,
    *,
    inter_weight: float | None,
    class_weights: str | Sequence[float],
) -> dict[str, Tensor]:
    """`intra` at even outer iterations k, `inter` at odd ones (section 4.2, footnote 3)."""
    if k % 2 == 0:
        return intra(synthetic, real, distance, k)
    return inter(synthetic, real, distance, k, inter_weight=inter_weight, class_weights=class_weights)


def multilevel(
    synthetic: ClassGradients,
    real: ClassGradients,
    distance: Distance,
    k: int,
    *,
    inter_weight: float | None,
    class_weights: str | Sequence[float],
) -> dict[str, Tensor]:
    """`intra` + `inter` (Eq. 6; Algorithm 1, line 8)."""
    return intra(synthetic, real, distance, k) | inter(
        synthetic, real, distance, k, inter_weight=inter_weight, class_weights=class_weights
    )


def _mean_over_classes(
    gradients: ClassGradients, class_weights: str | Sequence[float]
) -> dict[str, Tensor]:  # name -> [*weight.shape]
    shares = tuple(shares_of(class_weights, gradients.sizes, gradients.priors))
    return {
        name: torch.tensordot(on_device(shares, layer.dtype, layer.device), layer, 1)
        for name, layer in gradients.layers.items()
    }


@functools.lru_cache
def on_device(shares: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """The shares as a tensor."""
    # Kept: to bring numbers to a device is to wait for it.
    return torch.tensor(shares, dtype=dtype, device=device)


def shares_of(
    class_weights: str | Sequence[float], sizes: Sequence[int], priors: Sequence[float]
) -> Sequence[float]:
    """Each class's share of the mean gradient, [C]; class_weights as in `inter`.

    Args:
        sizes: images behind each class's gradient, [C]. priors: its share of the training set, [C].
    """
    match class_weights:
        case "equal":
            return [1 / len(sizes)] * len(sizes)
        case "priors":
            return priors
        case "batch":
            return [size / sum(sizes) for size in sizes]
        case str():
            raise ValueError(f"class_weights={class_weights!r}: equal, priors, batch, or a list of C weights")
    return class_weights
