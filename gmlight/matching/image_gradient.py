"""The gradient of the matching loss with respect to the images, over chunks of classes and several ranks.

The distances within classes concern each class alone. The distance between their means needs all classes, but
of each only its share of two sums: with v, the derivative of that distance with respect to the mean synthetic
gradient, the loss of class c is D_within(g_c) + <share_c v, g_c>, whose derivative is that of the whole loss.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from gmlight.data.images import ClassDraw, class_sizes
from gmlight.errors import ConfigError
from gmlight.matching.class_gradients import ClassGradients, Layers, matched_weights
from gmlight.matching.diagnostics import GradientDiagnosis
from gmlight.matching.distances import Distance
from gmlight.matching.engine import GradientEngine
from gmlight.matching.rules import (
    Levels,
    Matching,
    distance_between,
    distances_within,
    levels,
    on_device,
    shares_of,
)
from gmlight.runtime.distributed import ranks
from gmlight.runtime.memory import explain_out_of_memory

REAL_BYTES = 2**30  # of real images at once
Timed = Callable[[str], AbstractContextManager]


@dataclass(frozen=True)
class RealGradients:
    """The gradients on real images of the classes that this rank matches.

    layers: weight name -> [own classes, *weight.shape]. sizes: images behind each class's, of all classes.
    classes: the rank's own; null: one gradient, of images of any class.
    """

    layers: Layers
    sizes: list[int]
    classes: range | None = None


@dataclass(frozen=True)
class Outcome:
    """The terms of the matching loss by name, of all classes; what they gave the images, [C, ipc, ...].

    synthetic: the class gradients, for who has to name a culprit; none where they come in chunks.
    diagnostics: what was measured of the gradients, where that was asked for (`diagnostics.py`).
    """

    terms: dict[str, Tensor]
    of_images: Tensor
    synthetic: Layers
    diagnostics: dict[str, Tensor] = field(default_factory=dict)


class ImageGradient:
    """Algorithm 1, lines 7-9, up to the image step.

    Args:
        classes_per_chunk: of whose synthetic gradients the graph is held at once; null: the engine's
            `classes_at_once`.
        priors: each class's share of the training set, [C].
        timed: a context for each part of the work.
    """

    def __init__(
        self,
        engine: GradientEngine,
        matching: Matching,
        distance: Distance,
        *,
        classes_per_chunk: int | None,
        priors: Sequence[float],
        timed: Timed,
    ) -> None:
        self.engine, self.matching, self.distance = engine, matching, distance
        self.priors, self.timed = priors, timed
        self._classes_per_chunk = classes_per_chunk

    def real(self, network: nn.Module, images: "Tensor | Sequence[Tensor] | ClassDraw") -> RealGradients:
        """The gradients on the real images of every class, of which this rank takes its share.

        Args:
            images: of all classes, a slice of which gives some.
        """
        sizes = class_sizes(images)
        share = ranks.share(len(sizes))
        with self.timed("real gradients"), self._real_memory():
            if ranks.size > len(sizes):
                (c,) = share.units
                layers = self._part(network, images[c : c + 1][0], None, share.slice(sizes[c]), c)
                ranks.sum_parts(layers.values(), len(sizes))
                return RealGradients(layers, sizes, share.units)
            of_chunks = [
                self.engine.real(network, images[chunk.start : chunk.stop], first=chunk.start)
                for chunk in self._real_chunks(images, share.units)
            ]
        layers = of_chunks[0]
        if len(of_chunks) > 1:
            layers = {name: torch.cat([of[name] for of in of_chunks]) for name in layers}
        return RealGradients(layers, sizes, share.units)

    def mixed(self, network: nn.Module, images: Tensor, labels: Tensor) -> RealGradients:
        """The one gradient on a batch of images of any class, split over all ranks."""
        share = ranks.share(1)
        with self.timed("real gradients"), self._real_memory():
            layers = self._part(network, images, labels, share.slice(len(labels)), 0)
            ranks.sum_parts(layers.values(), 1)
        return RealGradients(layers, [len(labels)])

    def __call__(
        self, network: nn.Module, images: Tensor, real: RealGradients, k: int, diagnose: bool = False
    ) -> Outcome:
        """What the class gradients on the images [C, ipc, channels, H, W], detached, have to say to these.

        Args:
            diagnose: whether the gradients are measured on the way.
        """
        share, rule = ranks.share(len(images)), levels(self.matching, k)
        chunks = self._chunks(network, images, share.units)
        diagnosis = GradientDiagnosis(active=diagnose)
        with explain_out_of_memory(
            "the gradients on synthetic images", "memory.classes_per_chunk", lambda: len(chunks[0])
        ):
            return self._of_chunks(network, images, real, k, rule, chunks, diagnosis)

    def _of_chunks(
        self,
        network: nn.Module,
        images: Tensor,
        real: RealGradients,
        k: int,
        rule: Levels | None,
        chunks: list[range],
        diagnosis: GradientDiagnosis,
    ) -> Outcome:
        if ranks.size == 1 and len(chunks) == 1:
            return self._jointly(network, images, real, k, diagnosis)
        if rule is None:
            raise ConfigError(
                "this matching rule knows all classes at once: use one device and memory.classes_per_chunk="
                f"{len(images)}"
            )
        return self._in_chunks(network, images, real, rule, chunks, diagnosis)

    def of_mixed(
        self,
        network: nn.Module,
        images: Tensor,
        labels: Tensor,
        real: RealGradients,
        k: int,
        diagnose: bool = False,
    ) -> Outcome:
        """The same for a batch of synthetic images of any class, [n, channels, H, W]."""
        rule = levels(self.matching, k)
        if ranks.size > 1 and (rule is None or rule.within):
            raise ConfigError("mixed batches under this matching rule: use one device, or matching=inter")
        if not ranks.share(1).leads:
            zero = images.new_zeros(())
            return self._summed(Outcome({"inter": zero}, torch.zeros_like(images), {}))
        leaf = images.detach().requires_grad_()
        with self.timed("synthetic gradients"):
            layers = self.engine.synthetic(network, leaf.unsqueeze(0), [labels])
        diagnosis = GradientDiagnosis(active=diagnose)
        return self._summed(self._differentiate(leaf, layers, real, [len(labels)], k, diagnosis))

    def _real_memory(self) -> AbstractContextManager:
        return explain_out_of_memory(
            "the gradients on real images", "speed.microbatch", lambda: self.engine.microbatch
        )

    def _jointly(
        self,
        network: nn.Module,
        images: Tensor,
        real: RealGradients,
        k: int,
        diagnosis: GradientDiagnosis,
    ) -> Outcome:
        leaf = images.detach().requires_grad_()
        with self.timed("synthetic gradients"):
            layers = self.engine.synthetic(network, leaf)
        return self._differentiate(leaf, layers, real, [images.shape[1]] * len(images), k, diagnosis)

    def _differentiate(
        self,
        images: Tensor,
        layers: Layers,
        real: RealGradients,
        sizes: Sequence[int],
        k: int,
        diagnosis: GradientDiagnosis,
    ) -> Outcome:
        def matched(synthetic: Layers, real_layers: Layers) -> dict[str, Tensor]:
            return self.matching(
                ClassGradients(synthetic, sizes, self.priors),
                ClassGradients(real_layers, real.sizes, self.priors),
                self.distance,
                k,
            )

        with self.timed("distance"):
            # A graph of its own, from class gradients to loss, apart from theirs, from images to gradients.
            leaves = _leaves(layers)
            terms = matched(leaves, real.layers)
            of_layers = _derivative(_total(terms), leaves)
        with self.timed("synthetic gradients"):
            of_images = torch.autograd.grad(list(layers.values()), images, of_layers)[0]
        diagnosis.note_classes(leaves, real.layers)
        diagnosis.note_loss(lambda *pair: _total(matched(*pair)), leaves, real.layers)
        found = {name: term.detach() for name, term in terms.items()}
        return Outcome(found, of_images, leaves, diagnosis.metrics(len(sizes)))

    def _in_chunks(
        self,
        network: nn.Module,
        images: Tensor,
        real: RealGradients,
        rule: Levels,
        chunks: list[range],
        diagnosis: GradientDiagnosis,
    ) -> Outcome:
        share = ranks.share(len(images))
        leads, terms = share.leads, {}
        of_images = torch.zeros_like(images)
        # With one chunk its graph is held from the first pass to the second.
        graphs = [self._graph(network, images, chunk) for chunk in chunks[:1] if len(chunks) == 1 and leads]
        push: Layers = {}
        shares = shares_of(rule.class_weights, [images.shape[1]] * len(images), self.priors)
        if rule.between:
            sums = self._sums(network, images, real, rule, shares, chunks, graphs)
            with self.timed("distance"):
                mean = _leaves(sums[0])
                terms["inter"] = distance_between(mean, sums[1], self.distance, rule.weight(len(images)))
                push = dict(zip(mean, _derivative(terms["inter"], mean), strict=True))
        if rule.within:
            terms["intra"] = images.new_zeros(())
        for chunk in chunks if leads else []:
            leaf, layers = graphs[0] if graphs else self._graph(network, images, chunk)
            own = slice(chunk.start - share.units.start, chunk.stop - share.units.start)
            with self.timed("distance"):
                leaves = _leaves(layers)
                of_layers = [torch.zeros_like(layer) for layer in leaves.values()]
                here = {name: layer[own] for name, layer in real.layers.items()}
                self._note(diagnosis, leaves, here, rule)
                if rule.within:
                    loss = distances_within(leaves, here, self.distance).sum()
                    terms["intra"] = terms["intra"] + loss.detach()
                    of_layers = _derivative(loss, leaves)
                if rule.between:
                    weights = on_device(tuple(shares[chunk.start : chunk.stop]), leaf.dtype, leaf.device)
                    of_layers = [
                        of_layer + torch.tensordot(weights.unsqueeze(1), push[name].unsqueeze(0), 1)
                        for of_layer, name in zip(of_layers, leaves, strict=True)
                    ]
            with self.timed("synthetic gradients"):
                (gradient,) = torch.autograd.grad(list(layers.values()), leaf, of_layers)
            of_images[chunk.start : chunk.stop] = gradient
        # What each rank has of its own classes is summed; the distance between means is on every rank whole.
        outcome = Outcome({"intra": terms["intra"]} if rule.within else {}, of_images, {})
        summed = self._summed(outcome)
        whole = {"inter": terms["inter"].detach()} if rule.between else {}
        if diagnosis.active and not leads:  # the sums over ranks need something of each
            nothing = {name: layer[:0] for name, layer in real.layers.items()}
            self._note(diagnosis, nothing, nothing, rule)
        ranks.sum(diagnosis.tensors())
        if rule.between:
            weight = rule.weight(len(images))
            diagnosis.note_loss(
                lambda ours, theirs: distance_between(ours, theirs, self.distance, weight), *sums
            )
        return Outcome(summed.terms | whole, summed.of_images, {}, diagnosis.metrics(len(images)))

    def _note(self, diagnosis: GradientDiagnosis, synthetic: Layers, real: Layers, rule: Levels) -> None:
        diagnosis.note_classes(synthetic, real)
        if rule.within:
            diagnosis.note_loss(
                lambda ours, theirs: distances_within(ours, theirs, self.distance).sum(), synthetic, real
            )

    def _sums(
        self,
        network: nn.Module,
        images: Tensor,
        real: RealGradients,
        rule: Levels,
        shares: Sequence[float],
        chunks: list[range],
        graphs: list[tuple[Tensor, Layers]],
    ) -> tuple[Layers, Layers]:
        # The weighted means over all classes of the synthetic and of the real class gradients.
        share = ranks.share(len(images))
        real_shares = shares_of(rule.class_weights, real.sizes, self.priors)
        of_synthetic = {name: torch.zeros_like(layer[0]) for name, layer in real.layers.items()}
        of_real = {name: torch.zeros_like(layer[0]) for name, layer in real.layers.items()}
        if share.leads:
            _add(of_real, real.layers, real_shares[share.units.start : share.units.stop])
            for chunk in chunks:
                with self.timed("synthetic gradients"):
                    layers = (
                        graphs[0][1]
                        if graphs
                        else self.engine.synthetic(
                            network, images[chunk.start : chunk.stop], first=chunk.start, differentiable=False
                        )
                    )
                _add(of_synthetic, layers, shares[chunk.start : chunk.stop])
        ranks.sum([*of_synthetic.values(), *of_real.values()])
        return of_synthetic, of_real

    def _graph(self, network: nn.Module, images: Tensor, chunk: range) -> tuple[Tensor, Layers]:
        leaf = images[chunk.start : chunk.stop].detach().requires_grad_()
        with self.timed("synthetic gradients"):
            return leaf, self.engine.synthetic(network, leaf, first=chunk.start)

    def _part(self, network: nn.Module, images: Tensor, labels: Tensor | None, part: slice, c: int) -> Layers:
        # What the images of this part give the mean gradient on all of them.
        of_part = images[part]
        if len(of_part) == 0:
            weights = ((name, network.get_parameter(name)) for name in matched_weights(network))
            return {name: torch.zeros_like(weight).unsqueeze(0) for name, weight in weights}
        own = torch.full((len(of_part),), c, device=images.device) if labels is None else labels[part]
        layers = self.engine.real(network, of_part.unsqueeze(0), [own])
        if len(of_part) == len(images):
            return layers
        return {name: layer * (len(of_part) / len(images)) for name, layer in layers.items()}

    def _summed(self, outcome: Outcome) -> Outcome:
        ranks.sum([*outcome.terms.values(), outcome.of_images])
        return outcome

    def _chunks(self, network: nn.Module, images: Tensor, units: range) -> list[range]:
        return _split(units, self._classes_per_chunk or self.engine.classes_at_once(network, images))

    def _real_chunks(self, images: "Tensor | Sequence[Tensor] | ClassDraw", units: range) -> list[range]:
        # Images that are there already are one chunk; others are drawn when they are used.
        size = len(units)
        if isinstance(images, ClassDraw):
            size = self._classes_per_chunk or max(1, REAL_BYTES // images.bytes_of_class)
        return _split(units, size)


def _split(units: range, size: int) -> list[range]:
    return [units[i : i + size] for i in range(0, len(units), size)]


def _leaves(layers: Layers) -> Layers:
    return {name: layer.detach().requires_grad_() for name, layer in layers.items()}


def _total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def _derivative(loss: Tensor, leaves: Layers) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True))


@torch.no_grad()
def _add(sums: Layers, layers: Layers, shares: Sequence[float]) -> None:
    for name, layer in layers.items():
        weights = on_device(tuple(shares), layer.dtype, layer.device)
        sums[name] += torch.tensordot(weights, layer.detach(), 1)
