"""Matching rules: gradients within classes, between classes, or both (section 3.1).

A rule takes the class gradients on synthetic and on real images, a distance and the outer iteration k. It
returns the terms of the matching loss by name; the loss is their sum.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gmlight.matching.class_gradients import ClassGradients, Layers
from gmlight.matching.distances import Distance

# A user-defined rule: synthetic gradients, real gradients, distance, k -> terms of the loss.
RuleFunction = Callable[[ClassGradients, ClassGradients, Distance, int], dict[str, Tensor]]


@dataclass(frozen=True)
class Levels:
    """The terms that the matching loss has at one outer iteration.

    Args:
        within: whether the gradients of each class are compared (Eq. 4).
        between: whether the means over the classes are compared (Eq. 6, second term).
    """

    within: bool
    between: bool


@dataclass(frozen=True)
class MatchingRule:
    """A matching loss made of distances within classes and between the means over classes (Eq. 6).

    Args:
        name: name of the rule, as in conf/matching.
        within: whether gradients of each class are compared, at even and at odd outer iterations k.
        between: whether means over the classes are compared, at even and at odd k.
        inter_weight: lambda, the weight of the distance between means; None: the number of classes.
        class_weights: weights of the classes in the means: `equal` (1/C), `priors`, `batch` (Eq. 5: by the
            size of each class's batch, which gives the gradient on their union), or the C weights.
    """

    name: str
    within: tuple[bool, bool]
    between: tuple[bool, bool]
    inter_weight: float | None = None
    class_weights: str | Sequence[float] = "equal"

    def __call__(
        self, synthetic: ClassGradients, real: ClassGradients, distance: Distance, k: int
    ) -> dict[str, Tensor]:
        """Computes the terms `intra` and `inter` that the loss has at k, with all classes at once."""
        levels, terms = self.levels(k), {}
        if levels.within:
            terms["intra"] = distances_within(synthetic.layers, real.layers, distance).sum()
        if levels.between:
            weight = self.weight(len(real.priors))
            terms["inter"] = distance_between(
                self._mean_over_classes(synthetic), self._mean_over_classes(real), distance, weight
            )
        return terms

    def levels(self, k: int) -> Levels:
        """Returns the levels that are compared at outer iteration k."""
        return Levels(within=self.within[k % 2], between=self.between[k % 2])

    def needs_mixed_batches(self, k: int) -> bool:
        """Whether batches of images of any class can replace the class batches at k."""
        return not self.levels(k).within

    def weight(self, classes: int) -> float:
        """Returns lambda for a number of classes."""
        return classes if self.inter_weight is None else self.inter_weight

    def shares(self, sizes: Sequence[int], priors: Sequence[float]) -> Sequence[float]:
        """Computes each class's share of the mean gradient, [C].

        Args:
            sizes: images behind each class's gradient, [C].
            priors: each class's share of the training set, [C].

        Raises:
            ValueError: `class_weights` is an unknown word.
        """
        match self.class_weights:
            case "equal":
                return [1 / len(sizes)] * len(sizes)
            case "priors":
                return priors
            case "batch":
                return [size / sum(sizes) for size in sizes]
            case str():
                raise ValueError(
                    f"class_weights={self.class_weights!r}: must be equal, priors, batch, or C weights"
                )
        return self.class_weights

    def _mean_over_classes(self, gradients: ClassGradients) -> Layers:
        # name -> [*weight.shape]
        shares = self.shares(gradients.sizes, gradients.priors)
        return {name: weighted_sum(shares, layer) for name, layer in gradients.layers.items()}


@dataclass(frozen=True)
class UserRule:
    """A user-defined rule function. It needs all classes at once, so it runs on one device and in one chunk.

    Args:
        function: computes the terms of the loss.
    """

    function: RuleFunction

    def __call__(
        self, synthetic: ClassGradients, real: ClassGradients, distance: Distance, k: int
    ) -> dict[str, Tensor]:
        """Computes the terms of the loss."""
        return self.function(synthetic, real, distance, k)

    def needs_mixed_batches(self, k: int) -> bool:
        """True: if `matching.mixed_real` is set, mixed batches are drawn at every k."""
        return True


Rule = MatchingRule | UserRule


def as_rule(rule: Rule | RuleFunction) -> Rule:
    """Wraps a user-defined rule function; a `Rule` is returned unchanged."""
    return rule if isinstance(rule, MatchingRule | UserRule) else UserRule(rule)


def intra() -> MatchingRule:
    """Makes the rule that sums the distances between the gradients of each class (Eq. 4)."""
    return MatchingRule("intra", within=(True, True), between=(False, False))


def inter(inter_weight: float | None = None, class_weights: str | Sequence[float] = "equal") -> MatchingRule:
    """Makes the rule that compares the weighted means of the class gradients (Eq. 6, second term)."""
    return MatchingRule("inter", (False, False), (True, True), inter_weight, class_weights)


def interleaved(
    inter_weight: float | None = None, class_weights: str | Sequence[float] = "equal"
) -> MatchingRule:
    """Makes the rule `intra` at even outer iterations k, `inter` at odd ones (section 4.2, footnote 3)."""
    return MatchingRule("interleaved", (True, False), (False, True), inter_weight, class_weights)


def multilevel(
    inter_weight: float | None = None, class_weights: str | Sequence[float] = "equal"
) -> MatchingRule:
    """Makes the rule `intra` + `inter` (Eq. 6; Algorithm 1, line 8)."""
    return MatchingRule("multilevel", (True, True), (True, True), inter_weight, class_weights)


def distances_within(synthetic: Layers, real: Layers, distance: Distance) -> Tensor:
    """Sums over layers the distance between the gradients of each class (Eq. 7).

    Args:
        synthetic: weight name -> [C, *weight.shape].
        real: weight name -> [C, *weight.shape].
        distance: of one layer, [C, out, length] -> [C].

    Returns:
        [C].
    """
    layers = [distance(gradients.flatten(2), real[name].flatten(2)) for name, gradients in synthetic.items()]
    return torch.stack(layers).sum(0)


def distance_between(synthetic: Layers, real: Layers, distance: Distance, weight: float) -> Tensor:
    """Sums over layers lambda times the distance between two mean gradients (Eq. 7).

    Args:
        synthetic: weight name -> [*weight.shape].
        real: weight name -> [*weight.shape].
        distance: of one layer, [out, length] -> [].
        weight: lambda.

    Returns:
        [].
    """
    layers = [distance(gradient.flatten(1), real[name].flatten(1)) for name, gradient in synthetic.items()]
    return weight * torch.stack(layers).sum()


def weighted_sum(shares: Sequence[float], layer: Tensor) -> Tensor:
    """Sums a layer's gradients over classes, weighted: [C], [C, *weight.shape] -> [*weight.shape]."""
    return torch.tensordot(on_device(tuple(shares), layer.dtype, layer.device), layer, 1)


@functools.lru_cache
def on_device(shares: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Copies the shares to the device, [C]."""
    # Cached, because copying numbers to a device waits for the device.
    return torch.tensor(shares, dtype=dtype, device=device)
