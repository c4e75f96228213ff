"""Images as tensors, and the real batches drawn from them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from gmlight.data.digest import DataDigest
from gmlight.runtime.seeding import to_device

# A transform that depends on the label:
# images [N, channels, H, W], labels [N] on the CPU -> images of the same shape.
LabelTransform = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class DatasetInfo:
    """Description of a dataset: class names, normalisation, image shape, class shares.

    Args:
        classes: class names, in the order of the labels.
        mean: per channel, of pixels in 0..1.
        std: per channel, of pixels in 0..1.
        shape: (channels, H, W) of an image.
        priors: each class's share of the training images, [C].
        digest: identifies the images; None if it was not computed.
    """

    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    shape: tuple[int, int, int]
    priors: tuple[float, ...]
    digest: DataDigest | None = None


class TrainingSet(Protocol):
    """Labelled images that a network can be trained on."""

    def __len__(self) -> int:
        """Number of images."""

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Returns normalised images [n, channels, H, W] and what a network learns of them at `indices` [n].

        That is their labels, int64 [n]; or soft labels, the probabilities of the classes [n, C].
        """

    @property
    def floats(self) -> int:
        """Number of floats that must be stored for the images and their soft labels."""


@dataclass(frozen=True)
class LabelledImages:
    """Images as networks see them: normalised floats, with labels.

    Args:
        images: [N, channels, H, W].
        labels: [N].
        stored_floats: number of floats from which the images are decoded, and of the soft labels; None: the
            images are stored.
        soft_labels: probabilities of the classes for each image, which networks learn instead of the labels,
            [N, C]; None: networks learn the labels.
    """

    images: Tensor
    labels: Tensor
    stored_floats: int | None = None
    soft_labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def targets(self) -> Tensor:
        """What a network learns: the soft labels [N, C] if there are any, else the labels [N]."""
        return self.labels if self.soft_labels is None else self.soft_labels

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Returns images [n, channels, H, W] and targets, [n] or [n, C], at `indices` [n]."""
        indices = to_device(indices, self.labels.device)
        return self.images[indices], self.targets[indices]

    def to(self, device: torch.device) -> "LabelledImages":
        """Copies images and labels to the device."""
        soft = None if self.soft_labels is None else self.soft_labels.to(device)
        return LabelledImages(self.images.to(device), self.labels.to(device), self.stored_floats, soft)

    @property
    def floats(self) -> int:
        """Number of floats that must be stored for the images and their soft labels."""
        if self.stored_floats is not None:
            return self.stored_floats
        return self.images.numel() + (0 if self.soft_labels is None else self.soft_labels.numel())


class RealImages:
    """One split of a dataset, sorted by class, stored as uint8 and normalised when drawn.

    Args:
        images: uint8 [N, channels, H, W].
        labels: [N], positions in `info.classes`.
        info: classes and normalisation.
        device: device of the batches.
        storage: device of the stored images, `device` or the CPU; None: `device`.

    Attributes:
        counts: number of images of each class, [C].
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        info: DatasetInfo,
        *,
        device: torch.device,
        storage: torch.device | None = None,
    ) -> None:
        order = torch.argsort(labels, stable=True)
        self.images = images[order].to(storage or device)
        self.labels = labels[order].to(storage or device)
        self.info, self.device = info, device
        self.counts = torch.bincount(labels, minlength=len(info.classes)).tolist()
        self._mean = torch.tensor(info.mean, device=device).view(-1, 1, 1)
        self._std = torch.tensor(info.std, device=device).view(-1, 1, 1)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.info.classes

    @property
    def mean(self) -> list[float]:
        return list(self.info.mean)

    @property
    def std(self) -> list[float]:
        return list(self.info.std)

    @property
    def priors(self) -> list[float]:
        return list(self.info.priors)

    @property
    def floats(self) -> int:
        """Number of floats that must be stored for the images, without labels."""
        return self.images.numel()

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Returns normalised images [n, channels, H, W] and labels [n] at `indices` [n]."""
        indices = to_device(indices, self.images.device)
        images = to_device(self.images[indices], self.device)
        labels = to_device(self.labels[indices], self.device)
        # In place, because allocating a block of memory costs more than the arithmetic.
        return (images / 255).sub_(self._mean).div_(self._std), labels

    def class_indices(self) -> tuple[Tensor, ...]:
        """Returns the indices of each class's images, C tensors."""
        return torch.arange(len(self)).split(self.counts)

    def draw_per_class(self, size: int, rng: torch.Generator) -> Tensor | tuple[Tensor, ...]:
        """Draws images of each class without replacement, or all of a class that has fewer.

        Args:
            size: number of images of each class.
            rng: CPU generator.

        Returns:
            [C, size, channels, H, W], or C tensors [n_c, channels, H, W] if classes differ in number.
        """
        return self.draw_lazily(size, rng)[:]

    def draw_lazily(self, size: int, rng: torch.Generator) -> "ClassDraw":
        """Draws as `draw_per_class` does; the images are loaded when the result is sliced."""
        classes = self.class_indices()
        drawn = [indices[torch.randperm(len(indices), generator=rng)[:size]] for indices in classes]
        return ClassDraw(self, drawn)

    def draw_mixed(self, size: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draws `size` images of any class without replacement: [size, channels, H, W], labels [size]."""
        return self.batch(torch.randperm(len(self), generator=rng)[:size])


class ClassDraw:
    """Lazy draw of real images of each class: indices are fixed, images are loaded when sliced.

    Args:
        split: the split that images are drawn from.
        indices: indices of the drawn images, C tensors [n_c].
        transform: applied when images are loaded.

    Attributes:
        sizes: number of images of each class, [C].
    """

    def __init__(
        self, split: RealImages, indices: Sequence[Tensor], transform: LabelTransform | None = None
    ) -> None:
        self._split, self._indices, self._transform = split, indices, transform
        self.sizes = [len(drawn) for drawn in indices]

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, classes: slice) -> Tensor | tuple[Tensor, ...]:
        """Loads the images of some classes.

        Args:
            classes: slice of the labels.

        Returns:
            [c, n, channels, H, W], or c tensors [n_c, channels, H, W] if classes differ in number.
        """
        images, _ = self._split.batch(torch.cat(list(self._indices[classes])))
        sizes = self.sizes[classes]
        if self._transform is not None:
            labels = torch.arange(len(self))[classes].repeat_interleave(torch.tensor(sizes))
            images = self._transform(images, labels)
        if len(set(sizes)) == 1:
            return images.unflatten(0, (len(sizes), sizes[0]))
        return images.split(sizes)

    def transformed(self, transform: LabelTransform) -> "ClassDraw":
        """Returns the same draw with a transform."""
        return ClassDraw(self._split, self._indices, transform)

    @property
    def class_bytes(self) -> int:
        """Bytes of the normalised images of the largest class."""
        return 4 * max(self.sizes) * self._split.images[0].numel()


class UndecidedDraw:  # no dataclass: Lightning would copy it
    """Draw of real images of each class that waits for the network whose gradients are matched.

    Args:
        decide: maps the network and the image update t to the draw.
    """

    def __init__(self, decide: Callable[[nn.Module, int], ClassDraw]) -> None:
        self.decide = decide


# (train split, images per class, outer iteration k, CPU generator) -> the real batches of one image update.
Sampler = Callable[[RealImages, int, int, torch.Generator], ClassDraw | UndecidedDraw]


def random_sampling(train: RealImages, size: int, k: int, rng: torch.Generator) -> ClassDraw:
    """Draws `size` images of each class without replacement, as the paper does; a Sampler."""
    return train.draw_lazily(size, rng)


@dataclass  # not frozen: Lightning moves its fields to the device
class RealBatch:
    """The real images of image update t in outer iteration k.

    Args:
        k: outer iteration.
        t: image update within it.
        images: B_c^T per class, see `RealImages.draw_per_class`; empty if `matched` is set.
        mixed: images and labels of any class on which a schedule measures the real loss.
        statistics: images [n, channels, H, W] that update batch norm's running statistics.
        matched: images and labels of any class, matched as one batch instead of class by class.
        undecided: decides `images` at the beginning of the update; None: they are decided.
    """

    k: int
    t: int
    images: Tensor | tuple[Tensor, ...] | ClassDraw
    mixed: tuple[Tensor, Tensor] | None = None
    statistics: Tensor | None = None
    matched: tuple[Tensor, Tensor] | None = None
    undecided: UndecidedDraw | None = None


def class_sizes(images: Tensor | Sequence[Tensor] | ClassDraw) -> list[int]:
    """Returns the number of images of each class, [C]."""
    return images.sizes if isinstance(images, ClassDraw) else [len(batch) for batch in images]
