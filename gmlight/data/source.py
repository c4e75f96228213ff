"""Source of a run's images."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gmlight.data.digest import DataDigest, digest_classes, digest_split
from gmlight.data.images import DatasetInfo
from gmlight.data.splits import NotedSplits, Splits, channel_statistics, check_images, stratified
from gmlight.errors import ConfigError


class ReadData(NamedTuple):
    """The images of a source.

    Args:
        splits: train and test.
        info: their description.
        notes: lines about what was found, or passed over.
    """

    splits: Splits
    info: DatasetInfo
    notes: tuple[str, ...]


@dataclass(frozen=True)
class DataSource:
    """A dataset that is read on demand.

    Args:
        load: called with True if it may download; returns the train and the test split, each as images uint8
            [N, channels, H, W] and labels [N]; and, if it wants, lines about what it found or passed over.
        classes: class names, in the order of the labels.
        shape: (channels, H, W) of an image.
        mean: per channel, of pixels in 0..1; None: computed from the train split.
        std: per channel, of pixels in 0..1; None: computed from the train split.
        download: whether missing files may be downloaded.
        holdout: share of the training images that replaces the test split; 0: the test split is used.
    """

    load: Callable[[bool], Splits | NotedSplits]
    classes: Sequence[str]
    shape: tuple[int, int, int]
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    download: bool = True
    holdout: float = 0.0

    @classmethod
    def from_tensors(
        cls,
        train: tuple[Tensor, Tensor],
        test: tuple[Tensor, Tensor] | None = None,
        classes: Sequence[str] | None = None,
    ) -> "DataSource":
        """Makes a source of tensors in memory.

        Args:
            train: images uint8 [N, channels, H, W] and labels int64 [N].
            test: images and labels as in `train`; None: a stratified fifth of `train` is held out.
            classes: class names, in the order of the labels; None: the labels are the names.

        Raises:
            ConfigError: the images do not have four dimensions, or there are none.
        """
        images, labels = train
        if images.ndim != 4 or not len(images):
            raise ConfigError(f"the images are {tuple(images.shape)}, they must be [N, channels, H, W]")
        channels, height, width = images.shape[1:]
        return cls(
            functools.partial(_in_memory, (train, test or train)),
            classes=[str(c) for c in range(int(labels.max()) + 1)] if classes is None else classes,
            shape=(channels, height, width),
            holdout=0.2 if test is None else 0.0,
        )

    def read(self, *, download: bool) -> ReadData:
        """Reads both splits, checks them, and describes them.

        Args:
            download: whether missing files may be downloaded now.

        Raises:
            ConfigError: the files are absent or damaged, or the images do not fit the description.
        """
        train, test, *notes = self.load(download)
        splits: Splits = train, test
        for images, labels in splits:
            check_images(images, labels, self.classes, self.shape)
        mean, std = self.mean, self.std
        if mean is None or std is None:
            computed = channel_statistics(splits[0][0])
            mean, std = mean or computed[0], std or computed[1]
        if min(std) <= 0:
            raise ConfigError(
                f"dataset.std={list(std)}: must be above 0; every pixel of a channel is the same"
            )
        if self.holdout:
            if not 0 < self.holdout < 1:
                raise ConfigError(f"holdout={self.holdout}: must be at least 0 and below 1")
            try:
                splits = stratified(*train, self.holdout, seed=0, classes=self.classes, tolerance=1)
            except ConfigError as error:
                raise ConfigError(f"holdout={self.holdout}: {error}") from None
        counts = torch.bincount(splits[0][1], minlength=len(self.classes)).tolist()
        if min(counts) == 0:
            name = self.classes[counts.index(0)]
            raise ConfigError(f"class {name!r} has no training image; remove the class or add images")
        priors = tuple(count / sum(counts) for count in counts)
        train_digest, test_digest = (digest_split(*split, self.classes, mean, std) for split in splits)
        digest = DataDigest(train_digest, test_digest, digest_classes(*splits[1], len(self.classes)))
        info = DatasetInfo(tuple(self.classes), tuple(mean), tuple(std), self.shape, priors, digest)
        return ReadData(splits, info, tuple(line for lines in notes for line in lines))


def _in_memory(splits: Splits, download: bool) -> Splits:
    return splits
