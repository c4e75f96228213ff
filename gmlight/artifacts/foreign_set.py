"""A condensed set as another program published it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class ForeignSet:
    """A set as another program published it.

    Args:
        layout: name of the layout.
        files: the files that were read.
        images: floats or uint8, [N, channels, H, W].
        labels: whole numbers [N]; or floats [N, C], soft labels.
        soft_labels: floats [N, C], besides the labels; None: there are none.
        classes: class names by label; None: the files have none.
        mean: with which the files say that the images are normalised, per channel; None: they do not say.
        std: as `mean`.
        normalization: with which the program normalises its images: `none`, `dc` or `stated` (by mean and
            std); None: neither the layout nor the files say.
        decoded: whether the files hold images; otherwise each stored image is cut into several.
        notes: what else the files say, for the record.
    """

    layout: str
    files: Sequence[Path]
    images: Tensor
    labels: Tensor
    soft_labels: Tensor | None = None
    classes: list[str] | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    normalization: str | None = None
    decoded: bool = True
    notes: dict[str, Any] = field(default_factory=dict)
