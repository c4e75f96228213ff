"""Continual learning with a memory of a few images per class.

The protocol is that of GDumb (Prabhu et al., ECCV 2020), as Zhao and Bilen (WACV 2023) use it for condensed
sets: a network is trained on the memory alone, and tested on everything seen so far.
"""

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from gmlight.data.images import DatasetInfo, LabelledImages, RealImages
from gmlight.data.source import DataSource
from gmlight.data.splits import Splits
from gmlight.errors import ConfigError
from gmlight.runtime.seeding import generator


@dataclass(frozen=True)
class Task:
    """What one step brings: some classes of a dataset, or a dataset.

    Args:
        name: in tables.
        classes: class names, in the order of the labels in `splits`.
        outputs: output of the networks for each of these classes.
        splits: train and test, each as images uint8 [N, channels, H, W] and labels [N].
        info: of the whole dataset; gives the normalisation.
    """

    name: str
    classes: tuple[str, ...]
    outputs: tuple[int, ...]
    splits: Splits
    info: DatasetInfo

    def source(self) -> DataSource:
        """Returns the step's own dataset."""
        info = self.info
        return DataSource(
            partial(_same, self.splits), self.classes, info.shape, info.mean, info.std, download=False
        )

    def train(self, device: torch.device) -> RealImages:
        """Returns the training images, with the labels of `classes`."""
        return RealImages(*self.splits[0], self._described(self.classes), device=device)

    def test(self, outputs: int, device: torch.device) -> RealImages:
        """Returns the test images, labelled by the networks' outputs.

        Args:
            outputs: number of outputs of the tested networks.
            device: of the images.
        """
        images, labels = self.splits[1]
        names = tuple(map(str, range(outputs)))
        return RealImages(images, torch.tensor(self.outputs)[labels], self._described(names), device=device)

    def remembered(self, images: LabelledImages) -> LabelledImages:
        """Labels a set of this task's classes by the networks' outputs."""
        outputs = torch.tensor(self.outputs, device=images.labels.device)
        return LabelledImages(images.images, outputs[images.labels], images.stored_floats)

    def _described(self, classes: tuple[str, ...]) -> DatasetInfo:
        share = 1 / len(classes)
        return DatasetInfo(classes, self.info.mean, self.info.std, self.info.shape, (share,) * len(classes))


def _same(splits: Splits, download: bool) -> Splits:
    return splits


def class_tasks(splits: Splits, info: DatasetInfo, steps: int, seed: int, order: int) -> list[Task]:
    """Divides the classes of a dataset among steps, in a random order.

    Args:
        splits: train and test.
        info: of the dataset.
        steps: number of steps; if the classes cannot be divided equally, the first steps have one more.
        seed: of the order.
        order: its number.

    Raises:
        ConfigError: a step would have fewer than two classes.
    """
    classes = len(info.classes)
    if not 2 <= steps <= classes // 2:
        raise ConfigError(
            f"steps={steps}: must be from 2 to {classes // 2}, so that each step has two or more of the "
            f"{classes} classes"
        )
    shuffled = torch.randperm(classes, generator=generator(seed, "class-order", order))
    tasks, first = [], 0
    for chosen in shuffled.tensor_split(steps):
        labels = chosen.tolist()
        names = tuple(info.classes[label] for label in labels)
        outputs = tuple(range(first, first := first + len(labels)))
        parts: Any = tuple(_of_classes(split, labels) for split in splits)
        tasks.append(Task(", ".join(names), names, outputs, parts, info))
    return tasks


def dataset_tasks(read: Sequence[tuple[str, Splits, DatasetInfo]], info: DatasetInfo) -> list[Task]:
    """Makes a step of each dataset; all have the same outputs, as class k of one is class k of all.

    Args:
        read: name, splits and description of each dataset.
        info: normalisation and image shape of all steps.

    Raises:
        ConfigError: the datasets differ in their number of classes.
    """
    for name, _, own in read:
        if len(own.classes) != len(info.classes):
            raise ConfigError(
                f"datasets: {name} has {len(own.classes)} classes, not {len(info.classes)}; name datasets "
                "with as many classes"
            )
    outputs = tuple(range(len(info.classes)))
    return [
        Task(
            name,
            own.classes,
            outputs,
            ((_fitted(train[0], info.shape), train[1]), (_fitted(test[0], info.shape), test[1])),
            info,
        )
        for name, (train, test), own in read
    ]


def _of_classes(split: tuple[Tensor, Tensor], labels: Sequence[int]) -> tuple[Tensor, Tensor]:
    images, all_labels = split
    places = torch.full((int(all_labels.max()) + 1,), -1)
    for place, label in enumerate(labels):
        if label < len(places):
            places[label] = place
    chosen = places[all_labels] >= 0
    return images[chosen], places[all_labels[chosen]]


def _fitted(images: Tensor, shape: tuple[int, int, int]) -> Tensor:
    # uint8 images in another number of channels and size.
    channels, *size = shape
    if images.shape[1] == 3 and channels == 1:
        weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)  # ITU-R 601-2, as Pillow's
        images = (images * weights).sum(1, keepdim=True).round().clamp(0, 255).byte()
    elif images.shape[1] == 1 and channels == 3:
        images = images.expand(-1, 3, -1, -1)
    return images if list(images.shape[2:]) == size else resize(images.contiguous(), size, antialias=True)


def merged(sets: Sequence[LabelledImages]) -> LabelledImages:
    """Joins sets to one memory."""
    return LabelledImages(
        torch.cat([each.images for each in sets]),
        torch.cat([each.labels for each in sets]),
        sum(each.floats for each in sets),
    )


@dataclass(frozen=True)
class Scores:
    """The scores of one memory in one order, from the accuracies of its networks.

    Args:
        curve: accuracy after each step on everything seen so far, in percent; mean over the networks.
        average: mean of the curve.
        forgetting: mean over the tasks before the last of the best accuracy on the task at an earlier step,
            minus that after the last step, in percentage points.
    """

    curve: list[float]
    average: float
    forgetting: float


def score(accuracies: Sequence[Sequence[Sequence[float]]], images: Sequence[int]) -> Scores:
    """Computes the scores of one memory in one order (Chaudhry et al., ECCV 2018).

    Args:
        accuracies: in percent, by network, step and task; a step has the tasks up to it.
        images: number of test images of each task.
    """
    steps = range(len(images))
    by_task = [
        [statistics.fmean(network[step][task] for network in accuracies) for task in range(step + 1)]
        for step in steps
    ]
    totals = list(itertools.accumulate(images))
    curve = [
        sum(accuracy * n for accuracy, n in zip(by_task[step], images, strict=False)) / totals[step]
        for step in steps
    ]
    last = len(images) - 1
    best = [max(by_task[step][task] for step in range(task, last)) for task in range(last)]
    lost = [before - now for before, now in zip(best, by_task[last], strict=False)]
    return Scores(curve, statistics.fmean(curve), statistics.fmean(lost) if lost else 0.0)
