"""The LightningDataModule: a dataset's two splits and the real batches of every image update."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import lightning
import torch
from torch.utils.data import DataLoader, IterableDataset

from gmlight.data.digest import explain_changes
from gmlight.data.images import RealBatch, RealImages, Sampler, UndecidedDraw, random_sampling
from gmlight.data.source import DataSource, ReadData
from gmlight.errors import ConfigError
from gmlight.runtime.distributed import ranks
from gmlight.runtime.seeding import generator

_DIGEST = "data"  # key of the digest in a checkpoint


@dataclass(frozen=True)
class BatchSizes:
    """Numbers of real images drawn for one image update.

    Args:
        real: of each class, for the class gradients.
        mixed: of any class, on which a schedule measures the loss; 0: none.
        statistics: of each class, for batch norm's running statistics; 0: none.
        matched: of any class, matched as one batch instead of class by class; 0: none.
    """

    real: int = 256
    mixed: int = 0
    statistics: int = 0
    matched: int = 0


class CondensationData(lightning.LightningDataModule):
    """A dataset's two splits on the training device, and the real batches of every image update.

    From Python, with images in memory (defaults are the paper's):

        data = CondensationData(DataSource.from_tensors((images, labels)), updates=10)

    Lightning calls `prepare_data` in one process and `setup` in all. Before or without a trainer, call
    `prepare_data` in one process and then `load` in all.

    Args:
        source: reads the images.
        batches: sizes of the batches.
        updates: T, image updates of an outer iteration.
        seed: of the draws.
        sampler: draws the real batches of the classes.
        needs_mixed_batches: returns whether outer iteration k matches mixed batches; called if
            `batches.matched` is not 0; see `MatchingRule.needs_mixed_batches`.
        device_share: largest share of an accelerator's memory for the images; larger datasets stay in the
            CPU's memory.

    Attributes:
        train: the training images, after `load`.
        test: the test images, after `load`.
        info: classes, normalisation, shape and priors, after `load`.
        notes: lines about what was found, or passed over, after `load`.
    """

    def __init__(
        self,
        source: DataSource,
        batches: BatchSizes = BatchSizes(),
        *,
        updates: int = 1,
        seed: int = 0,
        sampler: Sampler = random_sampling,
        needs_mixed_batches: Callable[[int], bool] = lambda k: True,
        device_share: float = 0.25,
    ) -> None:
        super().__init__()
        self.source, self.batches = source, batches
        self.updates, self.seed = updates, seed
        self._sampler, self._needs_mixed_batches = sampler, needs_mixed_batches
        self._device_share = device_share
        self._prepared: ReadData | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the labels."""
        return tuple(self.source.classes)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, H, W) of an image."""
        return self.source.shape

    @property
    def mean(self) -> list[float]:
        """Mean per channel, of pixels in 0..1, after `load`."""
        return list(self.info.mean)

    @property
    def std(self) -> list[float]:
        """Standard deviation per channel, of pixels in 0..1, after `load`."""
        return list(self.info.std)

    def prepare_data(self) -> None:
        """Lightning's hook, for one process of a node: downloads missing files if `source.download` is set.

        Raises:
            ConfigError: the files are absent or damaged, or do not fit the description.
        """
        if self.source.download and self._prepared is None and not hasattr(self, "train"):
            self._prepared = self.source.read(download=self.source.download)

    def setup(self, stage: str) -> None:
        """Lightning's hook, for every process: loads the images, unless they are loaded."""
        if not hasattr(self, "train"):
            assert self.trainer is not None
            self.load(self.trainer.strategy.root_device)
        self._refuse_unequal_data()

    def _refuse_unequal_data(self) -> None:
        # Nodes without a common file system may hold other files.
        digest = None if self.info.digest is None else self.info.digest.as_dict()
        if any(other != digest for other in ranks.gather_objects(digest)):
            raise ConfigError("the processes read different data; give every node the same files")

    def load(self, device: torch.device) -> "CondensationData":
        """Reads both splits, without downloading, and puts them on the device.

        Args:
            device: where the images are used.

        Returns:
            This data module.

        Raises:
            ConfigError: the files are absent or damaged, or a class has too few images.
        """
        splits, self.info, self.notes = self._prepared or self.source.read(download=False)
        self._prepared = None  # frees the memory
        size = sum(images.nbytes for images, _ in splits)
        storage = device if _fits(size, device, self._device_share) else torch.device("cpu")
        self.train, self.test = (
            RealImages(images, labels, self.info, device=device, storage=storage) for images, labels in splits
        )
        self._check_statistics_batch()
        return self

    def _check_statistics_batch(self) -> None:
        fewest, wanted = min(self.train.counts), self.batches.statistics
        if fewest < wanted:
            name = self.classes[self.train.counts.index(fewest)]
            raise ConfigError(
                f"statistics_batch={wanted}: class {name!r} has only {fewest} images for the statistics of "
                f"batch norm; use statistics_batch<={fewest} or another norm"
            )

    def sampling_seconds(self, iterations: int) -> float:
        """Estimates the seconds that the sampler needs for a number of outer iterations; 0 if negligible."""
        estimate = getattr(self._sampler, "estimate_seconds", None)
        return estimate(iterations) if estimate is not None else 0.0

    def state_dict(self) -> dict[str, Any]:
        """Lightning's hook: returns the digest of the data and the sampler's state, for a checkpoint."""
        state = self._sampler.state_dict() if hasattr(self._sampler, "state_dict") else {}
        digest = self.info.digest
        return state if digest is None else state | {_DIGEST: digest.as_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lightning's hook: restores the sampler's state.

        Raises:
            ConfigError: the checkpoint was made with other data.
        """
        state, now = dict(state_dict), self.info.digest
        before = state.pop(_DIGEST, None)  # older checkpoints lack it
        if before and now and (changes := explain_changes(before, now.as_dict())):
            raise ConfigError(
                f"the data changed since the checkpoint was written: other {' and '.join(changes)}; restore "
                "them, or start a new run"
            )
        if hasattr(self._sampler, "load_state_dict"):
            self._sampler.load_state_dict(state)

    def train_dataloader(self) -> DataLoader:
        """Yields a `RealBatch` for each image update from the trainer's `global_step` to its `max_steps`."""
        assert self.trainer is not None
        first, last = self.trainer.global_step, self.trainer.max_steps
        steps = range(first, sys.maxsize if last == -1 else last)
        return DataLoader(_RealBatches(self, steps), batch_size=None)

    def draw(self, k: int, t: int) -> RealBatch:
        """Draws the real images of image update t in outer iteration k; they depend on (seed, k, t) alone."""

        def rng(purpose: str) -> torch.Generator:
            return generator(self.seed, purpose, k, t)

        sizes, statistics = self.batches, None
        mixed = self.train.draw_mixed(sizes.mixed, rng("mixed-batch")) if sizes.mixed else None
        if sizes.statistics:
            by_class = self.train.draw_per_class(sizes.statistics, rng("statistics-batch"))
            statistics = torch.cat(tuple(by_class))
        if sizes.matched and self._needs_mixed_batches(k):
            matched = self.train.draw_mixed(sizes.matched, rng("matched-batch"))
            return RealBatch(k, t, (), mixed, statistics, matched)
        images = self._sampler(self.train, sizes.real, k, rng("real-batch"))
        if isinstance(images, UndecidedDraw):
            return RealBatch(k, t, (), mixed, statistics, undecided=images)
        return RealBatch(k, t, images, mixed, statistics)


class _RealBatches(IterableDataset):
    def __init__(self, data: CondensationData, steps: range) -> None:
        self.data, self.steps = data, steps

    def __iter__(self) -> Iterator[RealBatch]:
        for step in self.steps:
            yield self.data.draw(*divmod(step, self.data.updates))


def _fits(size: int, device: torch.device, share: float) -> bool:
    if device.type != "cuda":
        return True
    return size <= share * torch.cuda.get_device_properties(device).total_memory
