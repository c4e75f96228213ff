"""The LightningDataModule: a dataset's two splits and the real batches of every image update."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from gmlight.data.datasets import Splits, stratified
from gmlight.data.images import DatasetInfo, RealBatch, RealImages, Sampler, at_random
from gmlight.errors import ConfigError
from gmlight.runtime.seeding import generator


class CondensationData(lightning.LightningDataModule):
    """A dataset's two splits on the training device, and the real batches of every image update.

    Args:
        load: called with root and download; returns the train and the test split, each as images uint8
            [N, channels, H, W] and labels [N].
        root: the folder to read from. download: whether `load` may fetch what is not there.
        classes: class names, in the order of the labels.
        shape: (channels, H, W).
        mean, std: per channel, of pixels in 0..1; null: computed from the train split.
        real_batch: images per class in a batch. mixed_batch: of any class; 0: none.
        matched_batch: images of any class to match on in the place of the class batches; 0: none.
        matched_every: at every such outer iteration, 2: at odd k.
        statistics_batch: images per class for batch-norm statistics; 0: none.
        iterations, updates: K and T; the loader yields from the trainer's `global_step` to K*T.
        device_share: of an accelerator's memory; images that take more stay on the host.
        holdout: share of the training images that is not trained on but stands in for the test split.
        sampler: draws the real batch of each class.

    Attributes:
        train, test, mean, std: once `load` was called.
    """

    def __init__(
        self,
        load: Callable[[str | None, bool], Splits],
        *,
        root: str | None,
        download: bool,
        classes: Sequence[str],
        shape: tuple[int, int, int],
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
        real_batch: int,
        mixed_batch: int,
        statistics_batch: int,
        matched_batch: int,
        matched_every: int,
        iterations: int,
        updates: int,
        seed: int,
        device_share: float,
        holdout: float,
        sampler: Sampler = at_random,
    ) -> None:
        super().__init__()
        self.classes, self._mean, self._std = tuple(classes), mean, std
        self.shape = shape
        self.real_batch, self.mixed_batch, self.statistics_batch = real_batch, mixed_batch, statistics_batch
        self.matched_batch, self.matched_every = matched_batch, matched_every
        self.iterations, self.updates, self.seed = iterations, updates, seed
        self._read = functools.partial(load, root, download)
        self._device_share, self._holdout = device_share, holdout
        self._sampler = sampler

    def load(self, device: torch.device) -> "CondensationData":
        """Reads both splits and puts them on the device; `train` and `test` are there afterwards."""
        splits = self._read()
        for images, labels in splits:
            self._refuse_misfits(images, labels)
        computed = _statistics(splits[0][0]) if self._mean is None or self._std is None else ([], [])
        self.mean, self.std = self._mean or computed[0], self._std or computed[1]
        if min(self.std) <= 0:
            raise ConfigError(
                f"dataset.std={self.std}: must be above 0; every pixel of a channel is the same"
            )
        if self._holdout:
            try:
                splits = stratified(*splits[0], self._holdout, seed=0)
            except ConfigError as error:
                raise ConfigError(f"holdout={self._holdout}: {error}; or use another share") from None
        fits = _fits(sum(images.nbytes for images, _ in splits), device, self._device_share)
        place = functools.partial(
            RealImages,
            classes=self.classes,
            mean=self.mean,
            std=self.std,
            device=device,
            home=device if fits else torch.device("cpu"),
        )
        self.train, self.test = (place(images, labels) for images, labels in splits)
        fewest = min(self.train.counts)
        name = self.classes[self.train.counts.index(fewest)]
        if fewest == 0:
            raise ConfigError(f"class {name!r} has no training image; remove the class or add images")
        if fewest < self.statistics_batch:
            raise ConfigError(
                f"statistics_batch={self.statistics_batch}: class {name!r} has only {fewest} images for the "
                f"statistics of batch norm; use statistics_batch<={fewest} or another norm"
            )
        return self

    @property
    def info(self) -> DatasetInfo:
        """What is known about the dataset besides its images, once `load` was called."""
        return DatasetInfo(
            self.classes, tuple(self.mean), tuple(self.std), self.shape, tuple(self.train.priors)
        )

    def _refuse_misfits(self, images: Tensor, labels: Tensor) -> None:
        if tuple(images.shape[1:]) != self.shape:
            raise ConfigError(
                f"the images are {tuple(images.shape[1:])}, by dataset.channels and dataset.size {self.shape}"
            )
        if labels.min() < 0 or labels.max() >= len(self.classes):
            raise ConfigError(
                f"a label is {int(labels.max())}, dataset.classes names {len(self.classes)} classes"
            )

    def setup(self, stage: str) -> None:
        """Lightning's hook: loads where nobody has yet."""
        if not hasattr(self, "train"):
            assert self.trainer is not None
            self.load(self.trainer.strategy.root_device)

    @property
    def sampling_seconds(self) -> float:
        """What the draws take of a whole run besides the images themselves, by what they took last."""
        foretold = getattr(self._sampler, "foretold", None)
        return foretold(self.iterations) if foretold is not None else 0.0

    def state_dict(self) -> dict[str, Any]:
        """Lightning's hook: what the sampler has found."""
        return self._sampler.state_dict() if hasattr(self._sampler, "state_dict") else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lightning's hook."""
        if hasattr(self._sampler, "load_state_dict"):
            self._sampler.load_state_dict(state_dict)

    def train_dataloader(self) -> DataLoader:
        assert self.trainer is not None
        steps = range(self.trainer.global_step, self.iterations * self.updates)
        return DataLoader(_Draws(self, steps), batch_size=None)

    def draw(self, k: int, t: int) -> RealBatch:
        """The real images of one update: a function of (seed, k, t) alone."""

        def rng(purpose: str) -> torch.Generator:
            return generator(self.seed, purpose, k, t)

        mixed = self.train.draw_mixed(self.mixed_batch, rng("mixed-batch")) if self.mixed_batch else None
        statistics = None
        if self.statistics_batch:
            by_class = self.train.draw_per_class(self.statistics_batch, rng("statistics-batch"))
            statistics = torch.cat(tuple(by_class))
        if self.matched_batch and (k + 1) % self.matched_every == 0:
            matched = self.train.draw_mixed(self.matched_batch, rng("matched-batch"))
            return RealBatch(k, t, (), mixed, statistics, matched)
        images = self._sampler(self.train, self.real_batch, k, rng("real-batch"))
        return RealBatch(k, t, images, mixed, statistics)


class _Draws(IterableDataset):
    def __init__(self, data: CondensationData, steps: range) -> None:
        self.data, self.steps = data, steps

    def __iter__(self) -> Iterator[RealBatch]:
        for step in self.steps:
            yield self.data.draw(*divmod(step, self.data.updates))


def _statistics(images: Tensor) -> tuple[list[float], list[float]]:
    # Per channel, of pixels in 0..1, to four digits as datasets are quoted; from counts of the 256 values.
    values = torch.arange(256, dtype=torch.double) / 255
    mean, std = [], []
    for c in range(images.shape[1]):
        share = torch.bincount(images[:, c].flatten(), minlength=256) / images[:, c].numel()
        mean.append(round((share * values).sum().item(), 4))
        std.append(round((share * (values - mean[-1]).square()).sum().sqrt().item(), 4))
    return mean, std


def _fits(size: int, device: torch.device, share: float) -> bool:
    if device.type != "cuda":
        return True
    return size <= share * torch.cuda.get_device_properties(device).total_memory
