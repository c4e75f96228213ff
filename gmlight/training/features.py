"""Features of real images: what a network's last layer is given."""

import torch
from torch import Tensor, nn

from gmlight.data.augmentation import none
from gmlight.data.images import RealImages, TrainingSet
from gmlight.errors import ConfigError
from gmlight.runtime.progress import ProgressCallback, no_progress
from gmlight.training.ensemble import Ensemble
from gmlight.training.steps import training_steps

AT_ONCE = 256  # images in one pass through the network


def trained_features(
    network: nn.Module,
    train: TrainingSet,
    *,
    steps: int,
    rng: torch.Generator,
    batch_size: int,
    lr: float,
    momentum: float,
    weight_decay: float = 0.0,
    progress: ProgressCallback = no_progress,
) -> nn.Module:
    """The map to features of the network, after it was trained on the set by so many steps of SGD.

    Args:
        progress: told how many of the steps are done.
    """
    optimizer = torch.optim.SGD(network.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay)
    batches = training_steps(
        Ensemble([network]), optimizer, train, batch_size=batch_size, rngs=[rng], augmentation=none
    )
    with torch.enable_grad():
        for step in range(steps):
            next(batches)
            progress(step + 1)
    return before_last_layer(network)


def before_last_layer(network: nn.Module) -> nn.Module:
    """The network as a map to features, in eval mode.

    Raises:
        ConfigError: it is no Sequential, so that nobody knows which layer is its last.
    """
    if not isinstance(network, nn.Sequential):
        raise ConfigError(
            f"architecture: features are the input of the last layer, and {type(network).__name__} is no "
            "nn.Sequential, which has one; use architecture=convnet"
        )
    return nn.Sequential(*list(network)[:-1]).eval()


@torch.no_grad()
def features_of(extract: nn.Module, train: RealImages, indices: Tensor) -> Tensor:
    """Features of these images, [n, length]."""
    return torch.cat([extract(train.batch(batch)[0]).flatten(1) for batch in indices.split(AT_ONCE)])
