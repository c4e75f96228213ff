"""What is matched: gradients within classes, between classes, or both (section 3.1).

A rule takes the class gradients on synthetic and on real images, a distance and the outer iteration k, and
returns the terms of the matching loss by name; the loss is their sum.
"""

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gmlight.distances import Distance
from gmlight.gradients import ClassGradients

Matching = Callable[[ClassGradients, ClassGradients, Distance, int], dict[str, Tensor]]


def intra(synthetic: ClassGradients, real: ClassGradients, distance: Distance, k: int) -> dict[str, Tensor]:
    """Sum over classes of the distance between their gradients (Eq. 4)."""
    layers = [
        distance(gradients.flatten(2), real.layers[name].flatten(2))  # [C, out, length] -> [C]
        for name, gradients in synthetic.layers.items()
    ]
    return {"intra": torch.stack(layers).sum()}


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
    mean_synthetic = _mean_over_classes(synthetic, class_weights)
    mean_real = _mean_over_classes(real, class_weights)
    layers = [
        distance(gradient.flatten(1), mean_real[name].flatten(1))  # [out, length] -> []
        for name, gradient in mean_synthetic.items()
    ]
    classes = len(real.priors)
    return {"inter": (classes if inter_weight is None else inter_weight) * torch.stack(layers).sum()}


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
    shares = tuple(_shares(gradients, class_weights))
    return {
        name: torch.tensordot(_on_device(shares, layer.dtype, layer.device), layer, 1)
        for name, layer in gradients.layers.items()
    }


@functools.lru_cache
def _on_device(shares: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    # Kept: to bring numbers to a device is to wait for it.
    return torch.tensor(shares, dtype=dtype, device=device)


def _shares(gradients: ClassGradients, class_weights: str | Sequence[float]) -> Sequence[float]:
    match class_weights:
        case "equal":
            return [1 / len(gradients.sizes)] * len(gradients.sizes)
        case "priors":
            return gradients.priors
        case "batch":
            return [size / sum(gradients.sizes) for size in gradients.sizes]
        case str():
            raise ValueError(f"class_weights={class_weights!r}: equal, priors, batch, or a list of C weights")
    return class_weights
