"""The real images: one uint8 tensor a split, normalised when drawn, served as batches per class."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from gmlight.errors import ConfigError
from gmlight.randomness import generator

Splits = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]


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
        labels: [N], positions in `classes`.
        classes: names.
        mean, std: per channel, of pixels in 0..1.
        device: where batches are wanted. home: where the images are kept, the device or the host.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        classes: Sequence[str],
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device,
        home: torch.device,
    ) -> None:
        order = torch.argsort(labels, stable=True)
        self.images = images[order].to(home)
        self.labels = labels[order].to(home)
        self.classes = tuple(classes)
        self.counts = torch.bincount(labels, minlength=len(classes)).tolist()
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
        load: called with the data folder and whether it may download; returns the train and the test split,
            each as images uint8 [N, channels, H, W] and labels [N].
        classes: class names, in the order of the labels.
        shape: (channels, H, W).
        real_batch: images per class in a batch. mixed_batch: of any class; 0: none.
        statistics_batch: images per class for batch-norm statistics; 0: none.
        iterations, updates: K and T; the loader yields from the trainer's `global_step` to K*T.
        device_share: of an accelerator's memory; images that take more stay on the host.

    Attributes:
        train, test: the splits, once `load` was called.
    """

    def __init__(
        self,
        load: Callable[[str, bool], Splits],
        *,
        data_dir: str,
        download: bool,
        classes: Sequence[str],
        shape: tuple[int, int, int],
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
        self.shape = shape
        self.real_batch, self.mixed_batch, self.statistics_batch = real_batch, mixed_batch, statistics_batch
        self.iterations, self.updates, self.seed = iterations, updates, seed
        self._read = functools.partial(load, data_dir, download)
        self._device_share = device_share

    def load(self, device: torch.device) -> "CondensationData":
        """Reads both splits and puts them on the device; `train` and `test` are there afterwards."""
        splits = self._read()
        for images, labels in splits:
            self._refuse_misfits(images, labels)
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
        if 0 in self.train.counts:
            empty = self.classes[self.train.counts.index(0)]
            raise ConfigError(f"class {empty!r} has no training image; remove the class or add images")
        return self

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


def digits(root: str, download: bool, *, test_share: float, split_seed: int) -> Splits:
    """scikit-learn's 1,797 handwritten digits, 8x8, in a fixed stratified split into train and test.

    They come with the installation: root and download play no part.
    """
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
    root: str,
    download: bool,
    *,
    dataset: Callable[..., Dataset],
    train: Mapping[str, Any],
    test: Mapping[str, Any],
    files: str,
) -> Splits:
    """The two splits of a torchvision dataset, looked for in `root`, else downloaded to it.

    Args:
        root: the data folder.
        download: whether to fetch what is not there.
        dataset: the torchvision class.
        train, test: the keywords that choose the split.
        files: where the files lie under `root`, for the message when they are missing.
    """
    train_split, test_split = (_read(dataset, root, split, files, download) for split in (train, test))
    return train_split, test_split


def _read(
    dataset: Callable[..., Dataset], root: str, split: Mapping[str, Any], files: str, download: bool
) -> tuple[Tensor, Tensor]:
    place = f"{Path(root).resolve()}/{files}"
    wanted = f"looked for {place}; put the files there or set data_dir to the folder that holds them"
    name = getattr(dataset, "__name__", str(dataset))
    try:
        return _to_tensors(dataset(root, **split, download=False))
    except (RuntimeError, OSError, EOFError, ValueError, AssertionError) as error:
        if "not found" not in str(error):  # torchvision's word for absent
            damage = f"{name} is damaged ({_first_line(error)})"
            raise ConfigError(f"{damage}: delete {place} and fetch it again") from None
    if not download:
        raise ConfigError(f"{name} is absent: {wanted}")
    try:
        return _to_tensors(dataset(root, **split, download=True))
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"{name} is absent and cannot be downloaded ({_first_line(error)}): {wanted}"
        ) from None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


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
