"""The gradient of the matching loss with respect to the images, over chunks of classes and several ranks.

The distances within classes concern each class alone. The distance between the means needs all classes, but
only two weighted sums over them: with v, the derivative of that distance with respect to the mean synthetic
gradient, the loss of class c is D_within(g_c) + <share_c v, g_c>, whose derivative is that of the whole loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gmlight.matching.class_gradients import Layers
from gmlight.matching.diagnostics import GradientDiagnosis
from gmlight.matching.distances import Distance
from gmlight.matching.engine import GradientEngine
from gmlight.matching.joint import MatchingResult, Timed, as_leaves, derivatives
from gmlight.matching.real_gradients import RealGradients
from gmlight.matching.rules import (
    MatchingRule,
    distance_between,
    distances_within,
    on_device,
    weighted_sum,
)
from gmlight.runtime.distributed import ranks


@dataclass(frozen=True)
class ChunkedMatching:
    """One image step's matching, a chunk of classes after another, on every rank its own classes.

    Args:
        engine: computes class gradients.
        network: in eval mode.
        images: synthetic, detached, [C, n, channels, H, W].
        real: gradients on real images of this rank's classes.
        rule: what is compared.
        distance: how two gradients of a layer are compared.
        k: outer iteration.
        priors: each class's share of the training set, [C].
        timed: a context around each part of the work.
    """

    engine: GradientEngine
    network: nn.Module
    images: Tensor
    real: RealGradients
    rule: MatchingRule
    distance: Distance
    k: int
    priors: Sequence[float]
    timed: Timed

    def match(self, chunks: list[range], diagnosis: GradientDiagnosis) -> MatchingResult:
        """Computes the loss of all classes and the gradient of their images, on every rank the same.

        Args:
            chunks: of this rank's classes.
            diagnosis: measures the gradients, where it is active.
        """
        classes, levels = len(self.images), self.rule.levels(self.k)
        led = chunks if ranks.share(classes).leads else []  # of a class that ranks share, one rank has it
        # The graph of a single chunk is held from the first pass to the second.
        graphs = [self._graph(led[0])] if len(led) == 1 else []
        between = _Between(self, led, graphs) if levels.between else None

        within = self.images.new_zeros(())
        gradient = torch.zeros_like(self.images)
        for chunk in led:
            leaf, layers = graphs[0] if graphs else self._graph(chunk)
            loss, layer_derivatives = self._differentiate(chunk, layers, between, diagnosis)
            within = within + loss
            with self.timed("synthetic gradients"):
                (chunk_gradient,) = torch.autograd.grad(list(layers.values()), leaf, layer_derivatives)
            gradient[chunk.start : chunk.stop] = chunk_gradient

        # Each rank has a part of these; the distance between means is whole on every rank.
        ranks.sum([within, gradient] if levels.within else [gradient])
        if diagnosis.active and not led:  # the sums over ranks need an entry of each rank
            nothing = {name: layer[:0] for name, layer in self.real.layers.items()}
            self._note(diagnosis, nothing, nothing)
        ranks.sum(diagnosis.tensors())
        terms = {"intra": within} if levels.within else {}
        if between is not None:
            diagnosis.note_loss(between.distance, between.synthetic, between.real)
            terms["inter"] = between.loss.detach()
        return MatchingResult(terms, gradient, {}, diagnosis.metrics(classes))

    def _graph(self, chunk: range) -> tuple[Tensor, Layers]:
        # The chunk's images as a leaf, and the class gradients on them with their graph.
        leaf = self.images[chunk.start : chunk.stop].detach().requires_grad_()
        with self.timed("synthetic gradients"):
            return leaf, self.engine.synthetic(self.network, leaf, first_class=chunk.start)

    def _differentiate(
        self, chunk: range, layers: Layers, between: "_Between | None", diagnosis: GradientDiagnosis
    ) -> tuple[Tensor, list[Tensor]]:
        # The chunk's loss within classes, and the derivative of the whole loss with respect to its gradients.
        first = ranks.share(len(self.images)).units.start
        real = {
            name: layer[chunk.start - first : chunk.stop - first] for name, layer in self.real.layers.items()
        }
        with self.timed("distance"):
            leaves = as_leaves(layers)
            self._note(diagnosis, leaves, real)
            loss = self.images.new_zeros(())
            layer_derivatives = [torch.zeros_like(layer) for layer in leaves.values()]
            if self.rule.levels(self.k).within:
                loss = distances_within(leaves, real, self.distance).sum()
                layer_derivatives = derivatives(loss, leaves)
            if between is not None:
                layer_derivatives = [
                    derivative + pull
                    for derivative, pull in zip(layer_derivatives, between.derivatives(chunk), strict=True)
                ]
        return loss.detach(), layer_derivatives

    def _note(self, diagnosis: GradientDiagnosis, synthetic: Layers, real: Layers) -> None:
        diagnosis.note_classes(synthetic, real)
        if self.rule.levels(self.k).within:
            diagnosis.note_loss(lambda a, b: distances_within(a, b, self.distance).sum(), synthetic, real)


class _Between:
    """The distance between the mean gradients over all classes, and its derivative.

    Args:
        matching: the image step.
        chunks: of classes whose gradients this rank adds to the means.
        graphs: the gradients of the only chunk, where its graph is held.
    """

    def __init__(
        self, matching: ChunkedMatching, chunks: list[range], graphs: list[tuple[Tensor, Layers]]
    ) -> None:
        self._matching = matching
        classes, count = matching.images.shape[:2]
        self._shares = matching.rule.shares([count] * classes, matching.priors)
        self.synthetic, self.real = self._means(chunks, graphs)
        with matching.timed("distance"):
            mean = as_leaves(self.synthetic)
            self.loss = self.distance(mean, self.real)
            self._derivatives = derivatives(self.loss, mean)

    def distance(self, synthetic: Layers, real: Layers) -> Tensor:
        """lambda times the distance between two means, []."""
        matching = self._matching
        return distance_between(
            synthetic, real, matching.distance, matching.rule.weight(len(matching.images))
        )

    def derivatives(self, chunk: range) -> list[Tensor]:
        """Of the distance with respect to the gradients of a chunk of classes, [c, *weight.shape] each."""
        shares = tuple(self._shares[chunk.start : chunk.stop])
        return [
            torch.tensordot(on_device(shares, layer.dtype, layer.device).unsqueeze(1), layer.unsqueeze(0), 1)
            for layer in self._derivatives
        ]

    def _means(self, chunks: list[range], graphs: list[tuple[Tensor, Layers]]) -> tuple[Layers, Layers]:
        matching = self._matching
        real_layers = matching.real.layers
        synthetic, real = (
            {name: torch.zeros_like(layer[0]) for name, layer in real_layers.items()} for _ in range(2)
        )
        if chunks:
            units = ranks.share(len(matching.images)).units
            real_shares = matching.rule.shares(matching.real.sizes, matching.priors)
            _add(real, real_layers, real_shares[units.start : units.stop])
        for chunk in chunks:
            with matching.timed("synthetic gradients"):
                layers = graphs[0][1] if graphs else self._gradients(chunk)
            _add(synthetic, layers, self._shares[chunk.start : chunk.stop])
        ranks.sum([*synthetic.values(), *real.values()])
        return synthetic, real

    def _gradients(self, chunk: range) -> Layers:
        matching = self._matching
        images = matching.images[chunk.start : chunk.stop]
        return matching.engine.synthetic(
            matching.network, images, first_class=chunk.start, differentiable=False
        )


@torch.no_grad()
def _add(sums: Layers, layers: Layers, shares: Sequence[float]) -> None:
    for name, layer in layers.items():
        sums[name] += weighted_sum(shares, layer.detach())
