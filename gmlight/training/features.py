"""Networks trained on real images for a few steps, and their features: the input of the last layer."""

from typing import Any

import torch
from torch import Tensor, nn

from gmlight.data.augmentation import none
from gmlight.data.images import RealImages, TrainingSet
from gmlight.errors import ConfigError
from gmlight.runtime.progress import ProgressCallback, no_progress
from gmlight.training.ensemble import Ensemble
from gmlight.training.steps import SGDSettings, training_steps

BATCH_SIZE = 256  # images in one pass through the network


def trained(
    network: nn.Module,
    train: TrainingSet,
    *,
    steps: int,
    rng: torch.Generator,
    sgd: SGDSettings,
    progress: ProgressCallback = no_progress,
) -> nn.Module:
    """Trains a network in place, and returns it.

    Args:
        network: any network.
        train: the training set.
        steps: number of SGD steps.
        rng: CPU generator of the mini-batches.
        sgd: batch size and optimizer.
        progress: called with the number of steps done.
    """
    batches = training_steps(
        Ensemble([network]),
        sgd.optimizer(network),
        train,
        batch_size=sgd.batch_size,
        rngs=[rng],
        augmentation=none,
    )
    with torch.enable_grad():
        for step in range(steps):
            next(batches)
            progress(step + 1)
    return network


def trained_features(network: nn.Module, train: TrainingSet, **settings: Any) -> nn.Module:
    """Trains a network and returns it without its last layer.

    Args:
        network: a Sequential whose last layer is the classifier; trained in place.
        train: the training set.
        settings: as in `trained`.

    Raises:
        ConfigError: the network is not a Sequential.
    """
    return before_last_layer(trained(network, train, **settings))


def before_last_layer(network: nn.Module) -> nn.Module:
    """Returns the network without its last layer, in eval mode.

    Raises:
        ConfigError: the network is not a Sequential, so its last layer is unknown.
    """
    if not isinstance(network, nn.Sequential):
        raise ConfigError(
            f"architecture: features are the input of the last layer, which only an nn.Sequential has; "
            f"{type(network).__name__} is none; use architecture=convnet"
        )
    return nn.Sequential(*list(network)[:-1]).eval()


@torch.no_grad()
def outputs_of(network: nn.Module, train: RealImages, indices: Tensor) -> Tensor:
    """Computes a network's outputs for real images, such as their features.

    Args:
        network: maps images to outputs.
        train: the training images.
        indices: of the images, [n].

    Returns:
        [n, length].
    """
    return torch.cat([network(train.batch(batch)[0]).flatten(1) for batch in indices.split(BATCH_SIZE)])
