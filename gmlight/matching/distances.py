"""Distances between two gradients of a layer: by angle, magnitude, or both (section 3.2, Table 2).

Each distance takes the rows [..., out, length] of one layer's gradients on synthetic and on real images. It
sums over the rows; mean over nothing (Eq. 7-9). It keeps the leading dimensions, such as classes: [...].
First and second derivatives are finite everywhere, also at rows of zeros and at equal rows.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Distance = Callable[[Tensor, Tensor], Tensor]

COSINE_EPS = 1e-8  # least norm of a row, as in torch.nn.functional.cosine_similarity


def cos(synthetic: Tensor, real: Tensor) -> Tensor:
    """d1 = 1 - a.b / (|a| |b|), each norm at least 1e-8 (Eq. 8)."""
    scale = _row_norm(synthetic).clamp_min(COSINE_EPS) * _row_norm(real).clamp_min(COSINE_EPS)
    return (1 - (synthetic * real).sum(-1) / scale).sum(-1)


def euclid(synthetic: Tensor, real: Tensor, weight: float) -> Tensor:
    """weight * d2, d2 = |a - b|; zero subgradient at equal rows."""
    return weight * _row_norm(synthetic - real).sum(-1)


def sse(synthetic: Tensor, real: Tensor, weight: float) -> Tensor:
    """weight * d3, d3 = |a - b|^2."""
    return weight * (synthetic - real).square().sum((-2, -1))


def sae(synthetic: Tensor, real: Tensor, weight: float) -> Tensor:
    """weight * sum of |a_i - b_i|; zero subgradient at equal numbers."""
    return weight * (synthetic - real).abs().sum((-2, -1))


def mse(synthetic: Tensor, real: Tensor, weight: float) -> Tensor:
    """weight * d4, d4 = |a - b|^2 / len(a)."""
    return weight * (synthetic - real).square().mean(-1).sum(-1)


def cos_euclid(synthetic: Tensor, real: Tensor, weight: float) -> Tensor:
    """d1 + weight * d2, the paper's choice (Eq. 9)."""
    return cos(synthetic, real) + euclid(synthetic, real, weight)


def cos_sse(synthetic: Tensor, real: Tensor, weight: float) -> Tensor:
    """d1 + weight * d3."""
    return cos(synthetic, real) + sse(synthetic, real, weight)


def cos_mse(synthetic: Tensor, real: Tensor, weight: float) -> Tensor:
    """d1 + weight * d4."""
    return cos(synthetic, real) + mse(synthetic, real, weight)


def _row_norm(rows: Tensor) -> Tensor:
    # Rows of zeros avoid the root: its derivatives at zero are infinite, and zero times infinity is nan.
    squared = rows.square().sum(-1)
    zero = squared == 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, squared).sqrt())
