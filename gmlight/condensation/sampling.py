"""Real batches that represent their classes: images near the centres of clusters in feature space.

Liu et al., "DREAM: Efficient Dataset Distillation by Representative Matching", ICCV 2023, section 3.3.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from gmlight.data.images import ClassDraw, RealImages
from gmlight.errors import ConfigError
from gmlight.runtime.distributed import ranks
from gmlight.runtime.seeding import generator, seeded
from gmlight.training.features import features_of, trained_features
from gmlight.training.steps import SGDSettings

ROUNDS = 20  # of k-means, at most; the centres need not be exact


@dataclass
class Representatives:
    """Draws real batches of which each image is one of those nearest to the centre of a cluster.

    The clusters are those of k-means on the features of each class's images in a network that was trained on
    real batches for a little while, made anew every so many outer iterations: a function of the seed and of k
    alone, whatever was condensed. Has as many clusters as the batch has images.

    Args:
        factory: makes the network; a Sequential whose last layer is the classifier.
        every: outer iterations between refreshes.
        steps: of the network's training before its features are taken.
        nearest: images nearest to each centre, of which one is drawn at each update.
        batch_size, lr, momentum: of the network's training by SGD.
    """

    needs_class_batches: ClassVar[bool] = True  # it has no mixed batches

    factory: Callable[[], nn.Module]
    every: int
    steps: int
    nearest: int
    batch_size: int
    lr: float
    momentum: float
    seed: int
    seconds: float = field(default=0.0, init=False)  # that the last refresh took
    _found: tuple[int, list[Tensor]] | None = field(default=None, init=False)  # of which refresh

    def foretold(self, iterations: int) -> float:
        """Seconds that the refreshes of so many outer iterations will take, by the last one."""
        return self.seconds * -(-iterations // self.every)

    def state_dict(self) -> dict[str, Any]:
        """What was found, for a checkpoint: on another device it might be other images."""
        return {"found": self._found}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._found = state["found"]

    def __call__(self, train: RealImages, size: int, k: int, rng: torch.Generator) -> ClassDraw:
        """`size` images of each class for outer iteration k, or all of a class that has fewer."""
        refresh = k // self.every
        if self._found is None or self._found[0] != refresh:
            started = time.perf_counter()
            self._found = refresh, ranks.broadcast(self._candidates(train, size, refresh))
            self.seconds = time.perf_counter() - started
        indices = []
        for candidates in self._found[1]:  # [clusters, nearest]
            which = torch.randint(candidates.shape[1], (len(candidates), 1), generator=rng)
            indices.append(candidates.gather(1, which).squeeze(1))
        return ClassDraw(train, indices)

    def _candidates(self, train: RealImages, size: int, refresh: int) -> list[Tensor]:
        # Of each class the images nearest to each centre, as indices [clusters, nearest].
        extract, candidates = self._features(train, refresh), []
        for own in train.class_indices():
            if len(own) <= size:
                candidates.append(own.unsqueeze(1))
                continue
            features = features_of(extract, train, own)
            if not features.isfinite().all():
                raise ConfigError(
                    f"sampling.steps={self.steps}: the network whose features are clustered has diverged; "
                    "use fewer, or a lower network_lr"
                )
            rng = generator(self.seed, "representatives-clusters", refresh, len(candidates))
            seed = int(torch.randint(2**31, (), generator=rng))
            candidates.append(own[near_centres(features, size, self.nearest, seed)])
        return candidates

    def _features(self, train: RealImages, refresh: int) -> nn.Module:
        with seeded(self.seed, "representatives-network", refresh):
            network = self.factory().to(train.device)
        return trained_features(
            network,
            train,
            steps=self.steps,
            rng=generator(self.seed, "representatives-batches", refresh),
            sgd=SGDSettings(self.batch_size, self.lr, self.momentum, weight_decay=0.0),
        )


def near_centres(features: Tensor, clusters: int, nearest: int, seed: int) -> Tensor:
    """Rows of features [n, length] nearest to the centres of k-means, those of each cluster in their order.

    Returns:
        [clusters, nearest], no row in two clusters; a cluster that has fewer repeats its first. One without
        any, as there is where features are equal, has a row that is not first in another.
    """
    values = features.double().cpu()
    with threadpool_limits(1), warnings.catch_warnings():  # several threads add up in any order
        warnings.simplefilter("ignore", ConvergenceWarning)  # of features that are equal
        found = KMeans(clusters, n_init=1, max_iter=ROUNDS, random_state=seed).fit(values.numpy())
    distances = torch.cdist(torch.from_numpy(found.cluster_centers_), values)
    labels, rows = torch.from_numpy(found.labels_), []
    for c in range(clusters):
        own = (labels == c).nonzero().squeeze(1)
        rows.append(own[distances[c, own].argsort(stable=True)][:nearest])
    taken = {int(of_cluster[0]) for of_cluster in rows if len(of_cluster)}
    free = (i for i in range(len(values)) if i not in taken)
    filled = [of_cluster if len(of_cluster) else torch.tensor([next(free)]) for of_cluster in rows]
    return torch.stack([torch.cat([own, own[:1].expand(nearest - len(own))]) for own in filled])
