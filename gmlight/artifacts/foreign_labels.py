"""Labels of published sets: numbers, probabilities or logits; classes may have other names or orders."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gmlight.artifacts.export_formats import folder_names
from gmlight.artifacts.foreign_set import ForeignSet
from gmlight.artifacts.set_checks import check_soft_labels
from gmlight.data.names import name_some, name_values
from gmlight.errors import ConfigError


def read_labels(found: ForeignSet, classes: Sequence[str], *, logits: bool) -> tuple[Tensor, Tensor | None]:
    """Returns the labels of a published set as those of a dataset.

    Args:
        found: the set.
        classes: of the dataset, C.
        logits: whether soft labels are logits; otherwise they are probabilities.

    Returns:
        Labels int64 [N], and probabilities float32 [N, C]; None: the set has no soft labels.

    Raises:
        ConfigError: they do not fit the images or the classes, or are no labels.
    """
    labels, soft = found.labels, found.soft_labels
    if labels.ndim == 2:
        soft = _checked_soft(labels, len(found.images), len(classes), logits=logits)
        labels = _classes_of(soft)
    elif soft is not None:
        soft = _checked_soft(soft, len(found.images), len(classes), logits=logits)
    elif logits:
        raise ConfigError("soft_labels=logits: there are no soft labels; leave it out")
    if labels.ndim != 1 or len(labels) != len(found.images):
        raise ConfigError(f"labels: are {list(labels.shape)} for {len(found.images)} images")
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise ConfigError(f"labels: must be whole numbers, not {labels.dtype}")
    labels = labels.long()
    if labels.min() < 0 or labels.max() >= len(classes):
        span = f"{int(labels.min())} to {int(labels.max())}"
        raise ConfigError(
            f"labels: are {span}; the dataset has the {len(classes)} classes 0 to {len(classes) - 1}"
        )
    if found.classes is None:
        return labels, soft
    order = _order(found.classes, classes)
    return order[labels], None if soft is None else soft[:, order.argsort()]


def _checked_soft(soft: Tensor, images: int, classes: int, *, logits: bool) -> Tensor:
    if not soft.is_floating_point() or soft.ndim != 2 or not soft.isfinite().all():
        raise ConfigError("soft labels: must be finite floats, [N, C]")
    if list(soft.shape) != [images, classes]:
        raise ConfigError(f"soft labels: must be [{images}, {classes}], not {list(soft.shape)}")
    soft = soft.float().softmax(1) if logits else soft.float()
    try:
        check_soft_labels(soft, images, classes)
    except ConfigError as error:
        raise ConfigError(
            f"{error}; if they are logits, as of TESLA and DATM, use soft_labels=logits"
        ) from None
    return soft


def _classes_of(soft: Tensor) -> Tensor:
    # The most probable class of each image; if they are not equally many, MTT's order: sorted by class.
    images, classes = soft.shape
    likely = soft.argmax(1)
    if likely.bincount(minlength=classes).unique().numel() == 1 or images % classes:
        return likely
    return torch.arange(classes).repeat_interleave(images // classes)


def _order(names: Sequence[str], classes: Sequence[str]) -> Tensor:
    # The dataset's label of each label of the set, [C].
    if sorted(names) == sorted(classes):
        return torch.tensor([list(classes).index(name) for name in names])
    if list(names) == folder_names(classes):
        return torch.arange(len(classes))
    numbers = [int(name) for name in names if name.isascii() and name.isdigit() and len(name) < 9]
    if len(names) == len(classes) and sorted(numbers) == list(range(len(classes))):
        return torch.tensor(numbers)
    raise ConfigError(
        f"classes: the set has {name_some(list(names))}; the dataset {name_values(list(classes))}"
    )
