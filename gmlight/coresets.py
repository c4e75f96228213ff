"""Real images as S."""

import torch

from gmlight.data import LabelledImages, RealImages
from gmlight.errors import ConfigError
from gmlight.synthetic import flatten


def random(train: RealImages, ipc: int, rng: torch.Generator) -> LabelledImages:
    """ipc real images of each class, drawn without replacement (Table 3, Random)."""
    smallest = min(train.counts)
    if ipc > smallest:
        name = train.classes[train.counts.index(smallest)]
        raise ConfigError(
            f"ipc={ipc}: class {name!r} has only {smallest} images to draw from; use ipc<={smallest}, "
            "or initialization=noise with evaluation.baselines.random=0"
        )
    images = train.draw_per_class(ipc, rng)
    assert isinstance(images, torch.Tensor)
    return flatten(images)


def whole(train: RealImages, ipc: int, rng: torch.Generator) -> RealImages:
    """The whole training set (Table 3, last column); ipc and rng play no part."""
    return train
