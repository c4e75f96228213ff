"""The gradient of the matching loss with respect to the synthetic images (Algorithm 1, lines 7 to 9)."""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gmlight.data.images import ClassDraw, DatasetInfo
from gmlight.errors import ConfigError
from gmlight.matching.chunked import ChunkedMatching, IterationLoss
from gmlight.matching.class_gradients import ClassGradients, Layers
from gmlight.matching.diagnostics import GradientDiagnosis
from gmlight.matching.distances import Distance, cos_euclid
from gmlight.matching.engine import GradientEngine
from gmlight.matching.joint import MatchingResult, Timed, differentiate, untimed
from gmlight.matching.real_gradients import RealGradients, mixed_real_gradient, real_gradients, split
from gmlight.matching.rules import MatchingRule, Rule, RuleFunction, as_rule, multilevel
from gmlight.runtime.distributed import ranks
from gmlight.runtime.memory import explain_out_of_memory
from gmlight.runtime.seeding import to_device

# The paper's choices.
MULTILEVEL = multilevel()
COS_EUCLID = functools.partial(cos_euclid, weight=1.0)


class GradientMatcher:
    """Matches the gradients on synthetic images to those on real images.

    Args:
        info: description of the dataset; only class names and priors are used.
        rule: selects gradients within classes, between classes, or both.
        distance: compares two gradients of a layer.
        engine: computes class gradients; None: a `GradientEngine` with automatic settings.
        classes_per_chunk: classes whose synthetic gradients keep a graph at once; None: as many as fit.
        mixed_synthetic: number of synthetic images, of any class, that are matched to a mixed real batch.

    Attributes:
        timed: a context around each part of the work, such as a profiler's.
    """

    def __init__(
        self,
        info: DatasetInfo,
        rule: Rule | RuleFunction = MULTILEVEL,
        distance: Distance = COS_EUCLID,
        engine: GradientEngine | None = None,
        *,
        classes_per_chunk: int | None = None,
        mixed_synthetic: int = 256,
    ) -> None:
        self.info, self.rule, self.distance = info, as_rule(rule), distance
        self.engine = engine or GradientEngine()
        self.timed: Timed = untimed
        self._classes_per_chunk, self._mixed_synthetic = classes_per_chunk, mixed_synthetic

    def real_gradients(
        self, network: nn.Module, images: "Tensor | Sequence[Tensor] | ClassDraw"
    ) -> RealGradients:
        """Computes the gradients on real images; each rank computes those of its share of the classes.

        Args:
            network: in eval mode.
            images: real images of all classes, [C, B, channels, H, W] or C tensors [B_c, channels, H, W].
        """
        with self.timed("real gradients"):
            return real_gradients(self.engine, network, images, self._classes_per_chunk)

    def mixed_real_gradient(self, network: nn.Module, images: Tensor, labels: Tensor) -> RealGradients:
        """Computes the single gradient on a batch of real images of any class.

        Args:
            network: in eval mode.
            images: [n, channels, H, W].
            labels: [n].
        """
        with self.timed("real gradients"):
            return mixed_real_gradient(self.engine, network, images, labels)

    def match(
        self, network: nn.Module, images: Tensor, real: RealGradients, k: int, diagnose: bool = False
    ) -> MatchingResult:
        """Matches every class of the synthetic images to its real gradient.

        Args:
            network: in eval mode.
            images: synthetic, detached, [C, n, channels, H, W].
            real: result of `real_gradients`.
            k: outer iteration.
            diagnose: whether to measure the gradients.

        Raises:
            ConfigError: a user-defined rule with several chunks or several ranks.
        """
        units = ranks.share(len(images)).units
        size = self._classes_per_chunk or self.engine.classes_at_once(network, images)
        chunks, diagnosis = split(units, size), GradientDiagnosis(active=diagnose)
        with explain_out_of_memory(
            "the gradients on synthetic images", "memory.classes_per_chunk", lambda: len(chunks[0])
        ):
            if ranks.size == 1 and len(chunks) == 1:
                leaf = images.detach().requires_grad_()
                with self.timed("synthetic gradients"):
                    synthetic = self.engine.synthetic(network, leaf)
                sizes = [images.shape[1]] * len(images)
                return self._differentiate(leaf, synthetic, sizes, real, k, diagnosis)
            if not isinstance(self.rule, MatchingRule):
                raise ConfigError(
                    "matching: this rule needs all classes at once; use one device and "
                    f"memory.classes_per_chunk={len(images)}"
                )
            loss = IterationLoss(self.rule, self.distance, k, self.info.priors)
            matching = ChunkedMatching(self.engine, network, images, real, loss, self.timed)
            return matching.match(chunks, diagnosis)

    def needs_every_class(self, k: int) -> bool:
        """Whether the gradient of a class's images depends on the images of other classes at k."""
        return not isinstance(self.rule, MatchingRule) or self.rule.levels(k).between

    def match_class(
        self,
        network: nn.Module,
        images: Tensor,
        real: RealGradients,
        k: int,
        c: int,
        diagnose: bool = False,
    ) -> MatchingResult:
        """Computes the gradient of one class's images; a rule without means over classes needs no other.

        Args:
            network: in eval mode.
            images: synthetic, detached, [C, n, channels, H, W].
            real: result of `real_gradients`.
            k: outer iteration.
            c: the class.
            diagnose: whether to measure the gradients of all classes.

        Returns:
            The gradient, with zeros for other classes. The terms of the loss are the class's own; or 1/C of
            the whole loss, if the rule compares means over classes.
        """
        if self.needs_every_class(k):
            return self.match(network, images, real, k, diagnose).of_class(c)
        share, gradient, term = ranks.share(len(images)), torch.zeros_like(images), images.new_zeros(())
        if c in share.units and share.leads:
            leaf = images[c : c + 1].detach().requires_grad_()
            with self.timed("synthetic gradients"):
                synthetic = self.engine.synthetic(network, leaf, first_class=c)
            place = c - share.units.start
            of_class = RealGradients(
                {name: layer[place : place + 1] for name, layer in real.layers.items()}, [real.sizes[c]]
            )
            inactive = GradientDiagnosis(active=False)
            result = self._differentiate(leaf, synthetic, [images.shape[1]], of_class, k, inactive)
            term, gradient[c] = result.terms["intra"], result.image_gradient[0]
        ranks.sum([term, gradient])
        diagnostics = self.match(network, images, real, k, diagnose=True).diagnostics if diagnose else {}
        return MatchingResult({"intra": term}, gradient, {}, diagnostics)

    def match_mixed(
        self,
        network: nn.Module,
        images: Tensor,
        real: RealGradients,
        k: int,
        rng: torch.Generator,
        diagnose: bool = False,
    ) -> MatchingResult:
        """Matches random synthetic images of any class to the gradient on a mixed real batch.

        Args:
            network: in eval mode.
            images: synthetic, detached, [C, n, channels, H, W].
            real: result of `mixed_real_gradient`.
            k: outer iteration.
            rng: draws the synthetic images.
            diagnose: whether to measure the gradients.

        Raises:
            ConfigError: several ranks with a user-defined rule or a rule that compares single classes.
        """
        if ranks.size > 1 and not (isinstance(self.rule, MatchingRule) and self.rule.needs_mixed_batches(k)):
            raise ConfigError(
                "matching.mixed_real: this matching rule needs one device; use one, or matching=inter"
            )
        classes, count = images.shape[:2]
        drawn = torch.randperm(classes * count, generator=rng)[: self._mixed_synthetic]
        drawn = to_device(drawn, images.device)
        leaf = images.flatten(0, 1)[drawn].detach().requires_grad_()
        result = MatchingResult({"inter": images.new_zeros(())}, torch.zeros_like(leaf))
        if ranks.share(1).leads:
            with self.timed("synthetic gradients"):
                synthetic = self.engine.synthetic(network, leaf.unsqueeze(0), [drawn // count])
            diagnosis = GradientDiagnosis(active=diagnose)
            result = self._differentiate(leaf, synthetic, [len(leaf)], real, k, diagnosis)
        ranks.sum([*result.terms.values(), result.image_gradient])
        gradient = torch.zeros_like(images).flatten(0, 1)
        gradient[drawn] = result.image_gradient
        return MatchingResult(result.terms, gradient.view_as(images), result.synthetic, result.diagnostics)

    def _differentiate(
        self,
        images: Tensor,
        synthetic: Layers,
        sizes: Sequence[int],
        real: RealGradients,
        k: int,
        diagnosis: GradientDiagnosis,
    ) -> MatchingResult:
        # images: the leaf of the synthetic gradients; sizes: number of images behind each of these gradients.
        priors = self.info.priors

        def loss_terms(synthetic: Layers, real_layers: Layers) -> dict[str, Tensor]:
            return self.rule(
                ClassGradients(synthetic, sizes, priors),
                ClassGradients(real_layers, real.sizes, priors),
                self.distance,
                k,
            )

        return differentiate(
            images, synthetic, real.layers, loss_terms, diagnosis=diagnosis, timed=self.timed
        )
