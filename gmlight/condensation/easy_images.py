"""Easy real batches: images of each class without the hardest ones.

Li et al., "Prioritize Alignment in Dataset Distillation" (PAD), 2024, section 3.1: small sets gain if hard
images are not matched. The score is EL2N of Paul et al., "Deep Learning on a Data Diet", NeurIPS 2021.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from gmlight.condensation.sampling import Refreshed
from gmlight.data.images import ClassDraw, RealImages
from gmlight.errors import ConfigError
from gmlight.runtime.seeding import generator, seeded
from gmlight.training.features import outputs_of, trained
from gmlight.training.steps import SGDSettings


@dataclass
class EasyImages(Refreshed):
    """Draws real batches at random from the images of each class that are left without the hardest.

    An image is hard if networks that were trained on real images for a few steps err on it: the score is the
    L2 norm of softmax minus label, averaged over the networks. It is computed once, before the first update.

    Args:
        factory: makes the networks.
        drop: share of each class's images that is never drawn; at least one image is kept.
        networks: number of networks that score the images.
        steps: number of training steps of each network.
        sgd: batch size and optimizer of the networks' training.
        seed: of the run.
    """

    needs_class_batches: ClassVar[bool] = True  # it cannot draw mixed batches
    option: ClassVar[str] = "easy"

    factory: Callable[[], nn.Module]
    drop: float
    networks: int
    steps: int
    sgd: SGDSettings
    seed: int

    def estimate_seconds(self, iterations: int) -> float:
        """Returns the seconds of the scoring, which any number of outer iterations needs once."""
        return self.seconds

    def __call__(self, train: RealImages, size: int, k: int, rng: torch.Generator) -> ClassDraw:
        """Draws the real images of one image update; a Sampler.

        Args:
            train: the training images.
            size: number of images of each class; a class of which fewer are kept gives all of these.
            k: outer iteration; not used.
            rng: CPU generator.

        Raises:
            ConfigError: the scores are not finite.
        """
        every_class = self._found(0, functools.partial(self._choose, train))  # is never refreshed again
        return ClassDraw(
            train, [kept[torch.randperm(len(kept), generator=rng)[:size]] for kept in every_class]
        )

    def _choose(self, train: RealImages) -> list[Tensor]:
        # Returns the indices of each class's images that are kept.
        scores = torch.stack([self._scores(train, i) for i in range(self.networks)]).mean(0)
        if not scores.isfinite().all():
            raise ConfigError(
                f"sampling.steps={self.steps}: a network that scores the images has diverged; use "
                "fewer steps or a lower network_lr"
            )
        kept = []
        for indices in train.class_indices():
            easiest = scores[indices].argsort(stable=True)
            kept.append(indices[easiest[: max(1, round((1 - self.drop) * len(indices)))]])
        return kept

    def _scores(self, train: RealImages, i: int) -> Tensor:
        with seeded(self.seed, "easy-network", i):
            network = self.factory().to(train.device)
        rng = generator(self.seed, "easy-batches", i)
        network = trained(network, train, steps=self.steps, rng=rng, sgd=self.sgd).eval()
        logits = outputs_of(network, train, torch.arange(len(train))).cpu()
        labels = one_hot(train.labels.cpu(), logits.shape[1])
        return (logits.double().softmax(1) - labels).norm(dim=1)
