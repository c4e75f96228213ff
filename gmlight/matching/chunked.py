"""The gradient of the matching loss with respect to the images, in chunks of classes and over several ranks.

The distance within a class depends on that class alone. The distance between the means depends on all classes
through two weighted sums only. Let v be its derivative with respect to the mean synthetic gradient. Then the
gradient g_c of class c receives the derivative of D_within(g_c) + <share_c v, g_c>, which equals that of the
whole loss (Eq. 6).
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
    Levels,
    MatchingRule,
    distance_between,
    distances_within,
    on_device,
    weighted_sum,
)
from gmlight.runtime.distributed import ranks


@dataclass(frozen=True)
class IterationLoss:
    """The matching loss of one outer iteration, split into its two levels.

    Args:
        rule: the levels that are compared.
        distance: compares two gradients of a layer.
        k: outer iteration.
        priors: each class's share of the training set, [C].
    """

    rule: MatchingRule
    distance: Distance
    k: int
    priors: Sequence[float]

    @property
    def levels(self) -> Levels:
        """Levels that are compared at this iteration."""
        return self.rule.levels(self.k)

    def within(self, synthetic: Layers, real: Layers) -> Tensor:
        """Sums the distances within some classes, []; layers are [c, *weight.shape] (Eq. 4)."""
        return distances_within(synthetic, real, self.distance).sum()

    def between(self, synthetic: Layers, real: Layers) -> Tensor:
        """Computes lambda times the distance between two means, []; layers are [*weight.shape] (Eq. 6)."""
        return distance_between(synthetic, real, self.distance, self.rule.weight(len(self.priors)))

    def shares(self, sizes: Sequence[int]) -> Sequence[float]:
        """Returns each class's share of the mean gradient, [C], from its number of images [C]."""
        return self.rule.shares(sizes, self.priors)


@dataclass(frozen=True)
class ChunkedMatching:
    """Matching of one image step in chunks of classes; each rank matches its share of the classes.

    Args:
        engine: computes class gradients.
        network: in eval mode.
        images: synthetic, detached, [C, n, channels, H, W].
        real: gradients on real images of this rank's classes.
        loss: the matching loss.
        timed: a context around each part of the work.
    """

    engine: GradientEngine
    network: nn.Module
    images: Tensor
    real: RealGradients
    loss: IterationLoss
    timed: Timed

    def match(self, chunks: list[range], diagnosis: GradientDiagnosis) -> MatchingResult:
        """Computes the loss of all classes and the gradient of their images, equal on all ranks.

        Args:
            chunks: this rank's classes, in chunks.
            diagnosis: measures the gradients if it is active.
        """
        classes, levels = len(self.images), self.loss.levels
        if not ranks.share(classes).leads:  # another rank matches the class that several ranks share
            chunks = []
        # The graph of a single chunk is kept from the first pass to the second.
        graphs = [self._graph(chunks[0])] if len(chunks) == 1 else []
        between = _Between(self, chunks, graphs) if levels.between else None

        within = self.images.new_zeros(())
        gradient = torch.zeros_like(self.images)
        for chunk in chunks:
            leaf, layers = graphs[0] if graphs else self._graph(chunk)
            loss, layer_derivatives = self._differentiate(chunk, layers, between, diagnosis)
            within = within + loss
            with self.timed("synthetic gradients"):
                (chunk_gradient,) = torch.autograd.grad(list(layers.values()), leaf, layer_derivatives)
            gradient[chunk.start : chunk.stop] = chunk_gradient

        # Each rank has a part of these sums; every rank has the whole distance between means.
        ranks.sum([within, gradient] if levels.within else [gradient])
        if diagnosis.active and not chunks:  # the sums over ranks need an entry from each rank
            no_classes = {name: layer[:0] for name, layer in self.real.layers.items()}
            self._note(diagnosis, no_classes, no_classes)
        ranks.sum(diagnosis.tensors())
        terms = {"intra": within} if levels.within else {}
        if between is not None:
            diagnosis.note_loss(self.loss.between, between.synthetic, between.real)
            terms["inter"] = between.loss.detach()
        return MatchingResult(terms, gradient, {}, diagnosis.metrics(classes))

    def _graph(self, chunk: range) -> tuple[Tensor, Layers]:
        # Returns the chunk's images as a leaf, and the class gradients on them with their graph.
        leaf = self.images[chunk.start : chunk.stop].detach().requires_grad_()
        with self.timed("synthetic gradients"):
            return leaf, self.engine.synthetic(self.network, leaf, first_class=chunk.start)

    def _differentiate(
        self, chunk: range, layers: Layers, between: "_Between | None", diagnosis: GradientDiagnosis
    ) -> tuple[Tensor, list[Tensor]]:
        # Returns the chunk's loss within classes, and the derivative of the whole loss for each layer.
        first = ranks.share(len(self.images)).units.start
        real = {
            name: layer[chunk.start - first : chunk.stop - first] for name, layer in self.real.layers.items()
        }
        with self.timed("distance"):
            leaves = as_leaves(layers)
            self._note(diagnosis, leaves, real)
            loss = self.images.new_zeros(())
            layer_derivatives = [torch.zeros_like(layer) for layer in leaves.values()]
            if self.loss.levels.within:
                loss = self.loss.within(leaves, real)
                layer_derivatives = derivatives(loss, leaves)
            if between is not None:
                layer_derivatives = [
                    within_term + between_term
                    for within_term, between_term in zip(
                        layer_derivatives, between.derivatives(chunk), strict=True
                    )
                ]
        return loss.detach(), layer_derivatives

    def _note(self, diagnosis: GradientDiagnosis, synthetic: Layers, real: Layers) -> None:
        diagnosis.note_classes(synthetic, real)
        if self.loss.levels.within:
            diagnosis.note_loss(self.loss.within, synthetic, real)


class _Between:
    """The distance between the mean gradients over all classes, and its derivative.

    Args:
        matching: the matching of the image step.
        chunks: classes whose gradients this rank adds to the means, in chunks.
        graphs: images and gradients of a single chunk, with their graph; empty with several chunks.
    """

    def __init__(
        self, matching: ChunkedMatching, chunks: list[range], graphs: list[tuple[Tensor, Layers]]
    ) -> None:
        self._matching = matching
        classes, count = matching.images.shape[:2]
        self._shares = matching.loss.shares([count] * classes)
        self.synthetic, self.real = self._means(chunks, graphs)
        with matching.timed("distance"):
            mean = as_leaves(self.synthetic)
            self.loss = matching.loss.between(mean, self.real)
            self._derivatives = derivatives(self.loss, mean)

    def derivatives(self, chunk: range) -> list[Tensor]:
        """Returns the derivatives with respect to the class gradients of a chunk, [c, *weight.shape] each."""
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
            real_shares = matching.loss.shares(matching.real.sizes)
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
