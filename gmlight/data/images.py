"""Training sets as tensors, and the real batches drawn from them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from gmlight.runtime.seeding import to_device

# Images [N, channels, H, W] and their labels [N] on the CPU -> as many images.
ByLabel = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class DatasetInfo:
    """What is known about a dataset besides its images.

    Args:
        classes: class names, in the order of the labels.
        mean: per channel, of pixels in 0..1.
        std: per channel, of pixels in 0..1.
        shape: (channels, H, W) of an image.
        priors: each class's share of the training images, [C].
    """

    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    shape: tuple[int, int, int]
    priors: tuple[float, ...]


class TrainingSet(Protocol):
    """What a network can be trained on."""

    def __len__(self) -> int:
        """Number of images."""

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images [n, channels, H, W] and labels [n]."""

    @property
    def floats(self) -> int:
        """Numbers that have to be stored to have it, labels apart."""


@dataclass(frozen=True)
class LabelledImages:
    """Images as they are trained on: normalised floats [N, channels, H, W], and labels [N].

    stored_floats: numbers from which the images come; null: the images are stored.
    """

    images: Tensor
    labels: Tensor
    stored_floats: int | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        indices = to_device(indices, self.labels.device)
        return self.images[indices], self.labels[indices]

    def to(self, device: torch.device) -> "LabelledImages":
        return LabelledImages(self.images.to(device), self.labels.to(device), self.stored_floats)

    @property
    def floats(self) -> int:
        return self.images.numel() if self.stored_floats is None else self.stored_floats


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
        self.classes, self.mean, self.std = tuple(classes), list(mean), list(std)
        self.counts = torch.bincount(labels, minlength=len(classes)).tolist()
        self.device = device
        self._mean = torch.tensor(mean, device=device).view(-1, 1, 1)
        self._std = torch.tensor(std, device=device).view(-1, 1, 1)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def floats(self) -> int:
        """Numbers, one a pixel and channel."""
        return self.images.numel()

    @property
    def priors(self) -> list[float]:
        """Each class's share of the images, [C]."""
        return [count / len(self) for count in self.counts]

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        indices = to_device(indices, self.images.device)
        images, labels = (
            to_device(self.images[indices], self.device),
            to_device(self.labels[indices], self.device),
        )
        # In place where it can be: a fresh block of memory costs more than the arithmetic.
        return (images / 255).sub_(self._mean).div_(self._std), labels

    def of_classes(self) -> tuple[Tensor, ...]:
        """The indices of each class's images."""
        return torch.arange(len(self)).split(self.counts)

    def draw_per_class(self, size: int, rng: torch.Generator) -> Tensor | tuple[Tensor, ...]:
        """`size` images of each class, drawn without replacement, or all of a class that has fewer.

        Returns:
            [C, size, channels, H, W], or C tensors [n_c, channels, H, W] where classes differ in number.
        """
        return self.draw_later(size, rng)[:]

    def draw_later(self, size: int, rng: torch.Generator) -> "ClassDraw":
        """What `draw_per_class` draws, as indices whose images are taken when they are used."""
        drawn = [own[torch.randperm(len(own), generator=rng)[:size]] for own in self.of_classes()]
        return ClassDraw(self, drawn)

    def draw_mixed(self, size: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """`size` images of any class, drawn without replacement, with their labels."""
        return self.batch(torch.randperm(len(self), generator=rng)[:size])


class ClassDraw:
    """Real images of each class that are drawn, but not taken yet: a slice takes those of some classes.

    Args:
        indices: of each class. transform: what images go through when they are taken.

    sizes: images of each class, [C].
    """

    def __init__(
        self, split: RealImages, indices: Sequence[Tensor], transform: ByLabel | None = None
    ) -> None:
        self._split, self._indices, self._transform = split, indices, transform
        self.sizes = [len(of_class) for of_class in indices]

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, classes: slice) -> Tensor | tuple[Tensor, ...]:
        """[c, n, channels, H, W], or c tensors [n_c, channels, H, W] where classes differ in number."""
        images, _ = self._split.batch(torch.cat(list(self._indices[classes])))
        sizes = self.sizes[classes]
        if self._transform is not None:
            labels = torch.arange(len(self))[classes].repeat_interleave(torch.tensor(sizes))
            images = self._transform(images, labels)
        if len(set(sizes)) == 1:
            return images.unflatten(0, (len(sizes), sizes[0]))
        return images.split(sizes)

    def transformed(self, transform: ByLabel) -> "ClassDraw":
        """The same images, seen through the transform."""
        return ClassDraw(self._split, self._indices, transform)

    @property
    def bytes_of_class(self) -> int:
        """That the normalised images of the largest class take."""
        return 4 * max(self.sizes) * self._split.images[0].numel()


# Of a split: images of each class, the outer iteration k, a generator.
Sampler = Callable[[RealImages, int, int, torch.Generator], ClassDraw]


def at_random(train: RealImages, size: int, k: int, rng: torch.Generator) -> ClassDraw:
    """Real batches as `RealImages.draw_later` draws them."""
    return train.draw_later(size, rng)


@dataclass  # not frozen: Lightning moves its fields to the device
class RealBatch:
    """What image update t of outer iteration k needs of the real images.

    images: B_c^T per class, a slice of which is as `RealImages.draw_per_class` gives them; none where
        `matched` stands in.
    mixed: images and labels on which a schedule may measure the real loss.
    statistics: images that move the running statistics of batch norm.
    matched: images and labels of any class whose gradient is matched in the place of the class gradients.
    """

    k: int
    t: int
    images: Tensor | tuple[Tensor, ...] | ClassDraw
    mixed: tuple[Tensor, Tensor] | None = None
    statistics: Tensor | None = None
    matched: tuple[Tensor, Tensor] | None = None


def class_sizes(images: Tensor | Sequence[Tensor] | ClassDraw) -> list[int]:
    """Number of images of each class, [C]."""
    return images.sizes if isinstance(images, ClassDraw) else [len(of_class) for of_class in images]
