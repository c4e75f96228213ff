"""Representative real batches: images near the centres of clusters in feature space.

Liu et al., "DREAM: Efficient Dataset Distillation by Representative Matching", ICCV 2023, section 3.3.
"""

import functools
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from gmlight.data.images import ClassDraw, RealImages, UndecidedDraw
from gmlight.errors import ConfigError
from gmlight.runtime.distributed import ranks
from gmlight.runtime.seeding import generator, seeded
from gmlight.training.features import before_last_layer, outputs_of, trained_features
from gmlight.training.steps import SGDSettings

MAX_ITERATIONS = 20  # of k-means; the centres need not be exact


@dataclass
class Refreshed:
    """What a sampler found at its last refresh; a base class.

    Attributes:
        seconds: duration of the last refresh.
    """

    seconds: float = field(default=0.0, init=False)
    # Number of the last refresh, and its result: tensors of each class.
    _refreshed: tuple[int, list[Tensor]] | None = field(default=None, init=False)

    def state_dict(self) -> dict[str, Any]:
        """Returns the result of the last refresh: computed again on resume, it might be another."""
        return {"found": self._refreshed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._refreshed = state["found"]

    def _found(self, refresh: int, find: Callable[[], list[Tensor]]) -> list[Tensor]:
        # The result of this refresh, which is computed if the last one was another. All ranks take rank 0's.
        if self._refreshed is None or self._refreshed[0] != refresh:
            started = time.perf_counter()
            self._refreshed = refresh, ranks.broadcast(find())
            self.seconds = time.perf_counter() - started
        return self._refreshed[1]


@dataclass
class Representatives(Refreshed):
    """Draws real batches from the images that are nearest to the centres of clusters.

    k-means divides the features of each class's images into as many clusters as the batch has images of the
    class. The features come from a fresh network, trained on real images for a few steps. A refresh computes
    network and clusters again. The draws depend on the seed and on k and t alone.

    Args:
        factory: makes the network; a Sequential whose last layer is the classifier.
        every: outer iterations between refreshes.
        steps: number of training steps of the network.
        nearest: images nearest to each centre, of which one is drawn at each update.
        sgd: batch size and optimizer of the network's training.
        seed: of the run.
    """

    needs_class_batches: ClassVar[bool] = True  # it cannot draw mixed batches
    option: ClassVar[str] = "representative"

    factory: Callable[[], nn.Module]
    every: int
    steps: int
    nearest: int
    sgd: SGDSettings
    seed: int

    def estimate_seconds(self, iterations: int) -> float:
        """Estimates the seconds of all refreshes in a number of outer iterations, from the last refresh."""
        return self.seconds * -(-iterations // self.every)

    def __call__(self, train: RealImages, size: int, k: int, rng: torch.Generator) -> ClassDraw:
        """Draws the real images of one image update; a Sampler.

        Args:
            train: the training images.
            size: number of images of each class; a class that has fewer gives all.
            k: outer iteration.
            rng: CPU generator of the draw among the nearest images.

        Raises:
            ConfigError: the features are not finite.
        """
        refresh = k // self.every
        find = functools.partial(self._candidates, train, size, refresh)
        return _one_of_each(train, self._found(refresh, find), rng)

    def _candidates(self, train: RealImages, size: int, refresh: int) -> list[Tensor]:
        extract = self._features(train, refresh)
        try:
            return _near_all_centres(
                extract, train, train.class_indices(), size, self.nearest, self.seed, refresh
            )
        except _NotFiniteError:
            raise ConfigError(
                f"sampling.steps={self.steps}: the network whose features are clustered has diverged; "
                "use fewer steps or a lower network_lr"
            ) from None

    def _features(self, train: RealImages, refresh: int) -> nn.Module:
        with seeded(self.seed, "representatives-network", refresh):
            network = self.factory().to(train.device)
        return trained_features(
            network,
            train,
            steps=self.steps,
            rng=generator(self.seed, "representatives-batches", refresh),
            sgd=self.sgd,
        )


@dataclass
class MatchedRepresentatives(Refreshed):
    """Draws representative images by the features of the network that is matched, as DREAM does.

    As `Representatives`, but the features are those of the network whose gradients are matched, at the image
    update of the refresh.

    Args:
        every: image updates between refreshes.
        nearest: images nearest to each centre, of which one is drawn at each update.
        candidates: images of each class that are clustered, drawn anew for each refresh, no fewer than the
            batch has; 0: all.
        updates: image updates of an outer iteration, T.
        seed: of the run.
    """

    needs_class_batches: ClassVar[bool] = True  # it cannot draw mixed batches
    trains_networks: ClassVar[bool] = False
    option: ClassVar[str] = "dream"

    every: int
    nearest: int
    candidates: int
    updates: int
    seed: int

    def estimate_seconds(self, iterations: int) -> float:
        """Estimates the seconds of all refreshes in a number of outer iterations, from the last refresh."""
        return self.seconds * -(-iterations * self.updates // self.every)

    def __call__(self, train: RealImages, size: int, k: int, rng: torch.Generator) -> UndecidedDraw:
        """Draws the real images of one image update; a Sampler.

        Args:
            train: the training images.
            size: number of images of each class; a class that has fewer gives all.
            k: outer iteration.
            rng: CPU generator of the draw among the nearest images.
        """
        return UndecidedDraw(functools.partial(self._decide, train, size, k, rng))

    def _decide(
        self, train: RealImages, size: int, k: int, rng: torch.Generator, network: nn.Module, t: int
    ) -> ClassDraw:
        refresh = (k * self.updates + t) // self.every

        def find() -> list[Tensor]:
            extract, pools = before_last_layer(network), self._pools(train, size, refresh)
            return _near_all_centres(extract, train, pools, size, self.nearest, self.seed, refresh)

        try:
            return _one_of_each(train, self._found(refresh, find), rng)
        except _NotFiniteError:
            raise ConfigError(
                f"sampling=dream: the features of the matched network are not finite at k={k}, t={t}; "
                "use a lower network_lr"
            ) from None

    def _pools(self, train: RealImages, size: int, refresh: int) -> list[Tensor]:
        # The indices of the images of each class that are clustered.
        pools = list(train.class_indices())
        if not self.candidates:
            return pools
        rng = generator(self.seed, "representatives-candidates", refresh)
        kept = max(size, self.candidates)
        return [indices[torch.randperm(len(indices), generator=rng)[:kept]] for indices in pools]


class _NotFiniteError(Exception):
    """Features are not finite."""


def _near_all_centres(
    extract: nn.Module,
    train: RealImages,
    pools: Iterable[Tensor],
    size: int,
    nearest: int,
    seed: int,
    refresh: int,
) -> list[Tensor]:
    # Returns for each class the indices of the images nearest to each centre, [clusters, nearest].
    found: list[Tensor] = []
    for indices in pools:
        if len(indices) <= size:
            found.append(indices.unsqueeze(1))
            continue
        features = outputs_of(extract, train, indices)
        if not features.isfinite().all():
            raise _NotFiniteError
        rng = generator(seed, "representatives-clusters", refresh, len(found))
        start = int(torch.randint(2**31, (), generator=rng))
        found.append(indices[near_centres(features, size, nearest, start)])
    return found


def _one_of_each(train: RealImages, found: Iterable[Tensor], rng: torch.Generator) -> ClassDraw:
    # Draws one of the images near each centre.
    indices = []
    for candidates in found:  # [clusters, nearest]
        columns = torch.randint(candidates.shape[1], (len(candidates), 1), generator=rng)
        indices.append(candidates.gather(1, columns).squeeze(1))
    return ClassDraw(train, indices)


def near_centres(features: Tensor, clusters: int, nearest: int, seed: int) -> Tensor:
    """Finds the rows nearest to the centres of k-means.

    Args:
        features: [n, length].
        clusters: number of centres.
        nearest: number of rows of each cluster.
        seed: of k-means.

    Returns:
        Indices [clusters, nearest], the nearest first; no row is in two clusters. A cluster with fewer rows
        repeats its first row. An empty cluster, possible with equal features, gets a row that is not first in
        any other cluster.
    """
    values = features.cpu().double()  # some accelerators lack float64
    with threadpool_limits(1), warnings.catch_warnings():  # threads add in random order
        warnings.simplefilter("ignore", ConvergenceWarning)  # raised for equal features
        result = KMeans(clusters, n_init=1, max_iter=MAX_ITERATIONS, random_state=seed).fit(values.numpy())
    distances = torch.cdist(torch.from_numpy(result.cluster_centers_), values)
    labels, rows = torch.from_numpy(result.labels_), []
    for c in range(clusters):
        members = (labels == c).nonzero().squeeze(1)
        rows.append(members[distances[c, members].argsort(stable=True)][:nearest])
    first = {int(cluster[0]) for cluster in rows if len(cluster)}
    others = (i for i in range(len(values)) if i not in first)
    filled = [cluster if len(cluster) else torch.tensor([next(others)]) for cluster in rows]
    return torch.stack([torch.cat([row, row[:1].expand(nearest - len(row))]) for row in filled])
