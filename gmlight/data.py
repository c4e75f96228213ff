"""The real images: one uint8 tensor a split, normalised when drawn, served as batches per class."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from gmlight.errors import ConfigError
from gmlight.randomness import generator


class TrainingSet(Protocol):
    """What a network can be trained on."""

    def __len__(self) -> int:
        """Number of images."""

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images [n, channels, H, W] and labels [n]."""


@dataclass(frozen=True)
class LabelledImages:
    """Images as they are trained on: normalised floats [N, channels, H, W], and labels [N]."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        indices = indices.to(self.labels.device)
        return self.images[indices], self.labels[indices]

    def to(self, device: torch.device) -> "LabelledImages":
        return LabelledImages(self.images.to(device), self.labels.to(device))


class RealImages:
    """One split of a dataset, sorted by class, kept as uint8 and normalised when drawn.

    Args:
        images: uint8 [N, channels, H, W].
        labels: [N], in 0..classes-1.
        mean, std: per channel, of pixels in 0..1.
        device: where batches are wanted.
        share: the greatest share of an accelerator's memory the images may take; else they stay on the host.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device,
        share: float,
    ) -> None:
        order = torch.argsort(labels, stable=True)
        home = device if _fits(images.nbytes, device, share) else torch.device("cpu")
        self.images = images[order].to(home)
        self.labels = labels[order].to(home)
        self.counts = torch.bincount(labels, minlength=classes).tolist()
        self.device = device
        self._mean = torch.tensor(mean, device=device).view(-1, 1, 1)
        self._std = torch.tensor(std, device=device).view(-1, 1, 1)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def priors(self) -> list[float]:
        """Each class's share of the images, [C]."""
        return [count / len(self) for count in self.counts]

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        indices = indices.to(self.images.device)
        images = self.images[indices].to(self.device)
        return (images / 255 - self._mean) / self._std, self.labels[indices].to(self.device)

    def draw_per_class(self, size: int, rng: torch.Generator) -> Tensor | tuple[Tensor, ...]:
        """`size` images of each class, drawn without replacement, or all of a class that has fewer.

        Returns:
            [C, size, channels, H, W], or C tensors [n_c, channels, H, W] where classes differ in number.
        """
        drawn, first = [], 0
        for count in self.counts:
            drawn.append(first + torch.randperm(count, generator=rng)[:size])
            first += count
        images, _ = self.batch(torch.cat(drawn))
        sizes = [len(indices) for indices in drawn]
        if len(set(sizes)) == 1:
            return images.unflatten(0, (len(sizes), sizes[0]))
        return images.split(sizes)

    def draw_mixed(self, size: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """`size` images of any class, drawn without replacement, with their labels."""
        return self.batch(torch.randperm(len(self), generator=rng)[:size])


@dataclass  # not frozen: Lightning moves its fields to the device
class RealBatch:
    """What image update t of outer iteration k needs of the real images.

    images: B_c^T per class, as `RealImages.draw_per_class` gives them.
    mixed: images and labels on which a schedule may measure the real loss.
    statistics: images that move the running statistics of batch norm.
    """

    k: int
    t: int
    images: Tensor | tuple[Tensor, ...]
    mixed: tuple[Tensor, Tensor] | None = None
    statistics: Tensor | None = None


class CondensationData(lightning.LightningDataModule):
    """A dataset's two splits on the training device, and the real batches of every image update.

    Args:
        load: returns the splits' (images uint8 [N, channels, H, W], labels [N]) for train and test.
        classes: class names, in the order of the labels.
        real_batch: images per class in a batch. mixed_batch: of any class; 0: none.
        statistics_batch: images per class for batch-norm statistics; 0: none.
        iterations, updates: K and T; the loader yields from the trainer's `global_step` to K*T.
        device_share: see `RealImages`.
    """

    def __init__(
        self,
        load: Callable[[], tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]],
        *,
        classes: Sequence[str],
        mean: Sequence[float],
        std: Sequence[float],
        real_batch: int,
        mixed_batch: int,
        statistics_batch: int,
        iterations: int,
        updates: int,
        seed: int,
        device_share: float,
    ) -> None:
        super().__init__()
        self.classes, self.mean, self.std = tuple(classes), tuple(mean), tuple(std)
        self.real_batch, self.mixed_batch, self.statistics_batch = real_batch, mixed_batch, statistics_batch
        self.iterations, self.updates, self.seed = iterations, updates, seed
        self._load, self._device_share = load, device_share

    def load(self, device: torch.device) -> "CondensationData":
        """Reads both splits and puts them on the device; `train` and `test` are there afterwards."""
        place = functools.partial(
            RealImages,
            classes=len(self.classes),
            mean=self.mean,
            std=self.std,
            device=device,
            share=self._device_share,
        )
        self.train, self.test = (place(images, labels) for images, labels in self._load())
        if 0 in self.train.counts:
            empty = self.classes[self.train.counts.index(0)]
            raise ConfigError(f"class {empty!r} has no training image; remove the class or add images")
        return self

    def setup(self, stage: str) -> None:
        if not hasattr(self, "train"):
            assert self.trainer is not None
            self.load(self.trainer.strategy.root_device)

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
        images = self.train.draw_per_class(self.real_batch, rng("real-batch"))
        return RealBatch(k, t, images, mixed, statistics)


class _Draws(IterableDataset):
    def __init__(self, data: CondensationData, steps: range) -> None:
        self.data, self.steps = data, steps

    def __iter__(self) -> Iterator[RealBatch]:
        for step in self.steps:
            yield self.data.draw(*divmod(step, self.data.updates))


def digits(test_share: float, split_seed: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """scikit-learn's 1,797 handwritten digits, 8x8, in a fixed stratified split into train and test."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    images = torch.from_numpy(bunch.images * (255 / 16)).round().to(torch.uint8).unsqueeze(1)
    labels = torch.from_numpy(bunch.target).long()
    train, test = train_test_split(
        np.arange(len(labels)), test_size=test_share, stratify=bunch.target, random_state=split_seed
    )
    return (images[train], labels[train]), (images[test], labels[test])


def torchvision_splits(
    dataset: Callable[..., Dataset],
    *,
    root: str,
    train: Mapping[str, Any],
    test: Mapping[str, Any],
    files: str,
    download: bool,
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The two splits of a torchvision dataset, looked for in `root`, else downloaded to it.

    Args:
        dataset: the torchvision class.
        train, test: the keywords that choose the split.
        files: where the files lie under `root`, for the message when they are missing.
    """
    train_split, test_split = (
        _to_tensors(_open(dataset, root, split, files, download)) for split in (train, test)
    )
    return train_split, test_split


def _open(
    dataset: Callable[..., Dataset], root: str, split: Mapping[str, Any], files: str, download: bool
) -> Dataset:
    try:
        return dataset(root, **split, download=False)
    except RuntimeError:
        wanted = (
            f"looked for {root}/{files}; put the files there or set data_dir to the folder that holds them"
        )
        name = getattr(dataset, "__name__", str(dataset))
        if not download:
            raise ConfigError(f"{name} is absent: {wanted}") from None
    try:
        return dataset(root, **split, download=True)
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"{name} is absent and cannot be downloaded ({reason}): {wanted}") from None


def _to_tensors(dataset: Any) -> tuple[Tensor, Tensor]:
    images = torch.empty(0)
    labels = torch.empty(len(dataset), dtype=torch.long)
    for i in range(len(dataset)):
        picture, labels[i] = dataset[i]
        pixels = torch.from_numpy(np.array(picture))  # [H, W] or [H, W, channels]
        if i == 0:
            channels = 1 if pixels.ndim == 2 else pixels.shape[2]
            images = torch.empty(len(dataset), channels, *pixels.shape[:2], dtype=torch.uint8)
        images[i] = pixels if pixels.ndim == 2 else pixels.permute(2, 0, 1)
    return images, labels


def _fits(size: int, device: torch.device, share: float) -> bool:
    if device.type != "cuda":
        return True
    return size <= share * torch.cuda.get_device_properties(device).total_memory
