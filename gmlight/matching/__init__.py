"""Class gradients, the distances between them, and the gradient of the synthetic images (Algorithm 1)."""

from gmlight.matching.rules import inter, interleaved, intra, multilevel

__all__ = ["inter", "interleaved", "intra", "multilevel"]
