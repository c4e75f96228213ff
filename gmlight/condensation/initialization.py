"""The initial synthetic set: noise, random or chosen real images, a condensed set, the whole training set.

An initialization takes the training set, the number of images per class and a generator. It may declare:
    draws_noise: it draws noise for the stored images, which are useless before training.
    needs_pixels: its images can only be learned with synthetic=pixels.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gmlight.artifacts.condensed_set import CondensedDataset
from gmlight.condensation.sampling import near_centres
from gmlight.condensation.synthetic import flatten
from gmlight.data.images import LabelledImages, RealImages
from gmlight.data.names import name_values
from gmlight.errors import ConfigError
from gmlight.runtime.answers import answers
from gmlight.runtime.progress import ProgressCallback, no_progress
from gmlight.runtime.seeding import seeded
from gmlight.training.features import outputs_of, trained_features
from gmlight.training.steps import NetworkFactory, SGDSettings, steps_per_epoch


@answers(draws_noise=True)
def noise(train: RealImages, ipc: int, rng: torch.Generator) -> LabelledImages:
    """Draws ipc images per class of N(0, 1) noise in normalised space (Algorithm 1, line 1)."""
    shape = (len(train.counts), ipc, *train.images.shape[1:])
    return flatten(torch.randn(shape, generator=rng))


def random(train: RealImages, ipc: int, rng: torch.Generator) -> LabelledImages:
    """Draws ipc real images of each class without replacement (Table 3, Random).

    Raises:
        ConfigError: a class has fewer images.
    """
    _check_class_sizes(train, ipc)
    images = train.draw_per_class(ipc, rng)
    assert isinstance(images, Tensor)
    return flatten(images)


def whole(train: RealImages, ipc: int, rng: torch.Generator) -> RealImages:
    """Returns the whole training set (Table 3, last column); ipc and rng are not used."""
    return train


def herding(train: RealImages, ipc: int, rng: torch.Generator, **options: Any) -> LabelledImages:
    """Chooses ipc real images of each class with nearly the class's mean feature (Table 3, Herding).

    Args:
        train: the real images.
        ipc: images per class.
        rng: CPU generator of the network's initialization and training.
        options: of the features, as in `feature_extractor`.

    Raises:
        ConfigError: a class has fewer images.
    """
    return _chosen(train, ipc, rng, herd, options)


def kmeans(train: RealImages, ipc: int, rng: torch.Generator, **options: Any) -> LabelledImages:
    """Chooses the real images of each class nearest to the centres of ipc clusters (DREAM, section 3.3).

    Args:
        train: the real images.
        ipc: images per class.
        rng: CPU generator of the network's initialization and training, and of the clusters.
        options: of the features, as in `feature_extractor`.

    Raises:
        ConfigError: a class has fewer images.
    """

    def nearest(features: Tensor, number: int) -> Tensor:
        seed = int(torch.randint(2**31, (), generator=rng))
        return near_centres(features, number, nearest=1, seed=seed).squeeze(1)

    return _chosen(train, ipc, rng, nearest, options)


def feature_extractor(
    train: RealImages,
    rng: torch.Generator,
    *,
    features: str,
    network: NetworkFactory,
    epochs: int,
    progress: ProgressCallback = no_progress,
    **sgd: float,
) -> nn.Module:
    """Makes what computes the features by which real images are chosen.

    Args:
        train: the real images.
        rng: CPU generator of the network's initialization and training.
        features: `network`: the input of the last layer of a network trained on the real images; or `pixels`.
        network: makes that network from `channels`, `size` and `classes`; a Sequential whose last layer is
            the classifier.
        epochs: number of epochs of its training.
        progress: called with the number of epochs done.
        sgd: batch_size, lr, momentum and weight_decay of its training, as in `SGDSettings`.
    """
    if features != "network":
        return nn.Flatten()
    with seeded(int(torch.randint(2**31, (), generator=rng)), "herding-network"):
        _, channels, *size = train.images.shape
        fresh = network(channels=channels, size=tuple(size), classes=len(train.classes))
    settings = SGDSettings(**sgd)  # type: ignore[arg-type]
    per_epoch = steps_per_epoch(train, settings.batch_size)
    return trained_features(
        fresh.to(train.device),
        train,
        steps=epochs * per_epoch,
        rng=rng,
        sgd=settings,
        progress=lambda steps: progress(steps / per_epoch),
    )


def _chosen(
    train: RealImages,
    ipc: int,
    rng: torch.Generator,
    choose: Callable[[Tensor, int], Tensor],
    options: dict[str, Any],
) -> LabelledImages:
    # choose: features of a class [n, length] and a number -> that many rows.
    _check_class_sizes(train, ipc)
    extract = feature_extractor(train, rng, **options)
    rows = [indices[choose(outputs_of(extract, train, indices), ipc)] for indices in train.class_indices()]
    return LabelledImages(*train.batch(torch.cat(rows)))


def herd(features: Tensor, number: int) -> Tensor:
    """Chooses rows one by one; each brings the mean of the chosen rows nearest to the mean of all rows.

    Args:
        features: [N, length].
        number: number of rows to choose.

    Returns:
        Indices in the order of the choice, [number].
    """
    mean, total = features.mean(0), torch.zeros_like(features[0])
    free = torch.zeros(len(features), dtype=features.dtype, device=features.device)
    rows = []
    for i in range(1, number + 1):
        distance = (mean - (total + features) / i).norm(dim=1) + free
        rows.append(int(distance.argmin()))
        total = total + features[rows[-1]]
        free[rows[-1]] = torch.inf
    return torch.tensor(rows)


@answers(needs_pixels=True)
def condensed(train: RealImages, ipc: int, rng: torch.Generator, *, path: str | None) -> LabelledImages:
    """Reads the condensed set of an artifact or run folder, to condense it further or to evaluate it.

    Args:
        train: the real images, which the set must fit.
        ipc: images per class of the set.
        rng: not used.
        path: the artifact or run folder.

    Raises:
        ConfigError: there is no complete set, or it does not fit the dataset and ipc.
    """
    if path is None:
        raise ConfigError("initialization=artifact: name a run folder or artifact by initialization.path=")
    dataset = CondensedDataset(path)
    counts = torch.bincount(dataset.labels, minlength=len(train.classes)).tolist()
    pairs = {
        "classes are": (dataset.classes, list(train.classes)),
        "image shape is": (list(dataset.images.shape[1:]), list(train.images.shape[1:])),
        "normalisation is": ([dataset.mean, dataset.std], [train.mean, train.std]),
        "number of images per class is": (counts, [ipc] * len(train.classes)),
    }
    for property_name, (found, needed) in pairs.items():
        if found != needed:
            there, here = name_values(found), name_values(needed)
            raise ConfigError(f"initialization.path={path}: its {property_name} {there}, not {here}")
    if not dataset.metadata.get("complete", True):
        raise ConfigError(f"initialization.path={path}: its run stopped before its end; name a complete set")
    if dataset.soft_labels is not None:
        raise ConfigError(
            f"initialization.path={path}: has soft labels, which condensing would lose; evaluate it with "
            "gmlight.evaluate"
        )
    order = torch.argsort(dataset.labels, stable=True)
    return LabelledImages(dataset.images[order], dataset.labels[order]).to(train.device)


def _check_class_sizes(train: RealImages, ipc: int) -> None:
    smallest = min(train.counts)
    if ipc > smallest:
        name = train.classes[train.counts.index(smallest)]
        raise ConfigError(
            f"ipc: {ipc} images of class {name!r} are wanted, and it has only {smallest}; use a smaller ipc, "
            "or initialization=noise with evaluation.baselines.random=0"
        )
