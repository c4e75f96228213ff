"""The initial synthetic set: noise, random real images, herding, a condensed set, the whole training set."""

import torch
from torch import Tensor, nn

from gmlight.artifacts.condensed_set import CondensedDataset
from gmlight.condensation.synthetic import flatten
from gmlight.data.images import LabelledImages, RealImages
from gmlight.errors import ConfigError
from gmlight.runtime.progress import ProgressCallback, no_progress
from gmlight.runtime.seeding import seeded
from gmlight.training.features import features_of, trained_features
from gmlight.training.steps import NetworkFactory, SGDSettings, steps_per_epoch


def noise(train: RealImages, ipc: int, rng: torch.Generator) -> LabelledImages:
    """ipc images a class of N(0, 1) noise in normalised space (Algorithm 1, line 1)."""
    shape = (len(train.counts), ipc, *train.images.shape[1:])
    return flatten(torch.randn(shape, generator=rng))


def random(train: RealImages, ipc: int, rng: torch.Generator) -> LabelledImages:
    """ipc real images of each class, drawn without replacement (Table 3, Random)."""
    _refuse_too_many(train, ipc)
    images = train.draw_per_class(ipc, rng)
    assert isinstance(images, Tensor)
    return flatten(images)


def whole(train: RealImages, ipc: int, rng: torch.Generator) -> RealImages:
    """The whole training set (Table 3, last column); ipc and rng play no part."""
    return train


def herding(
    train: RealImages,
    ipc: int,
    rng: torch.Generator,
    *,
    features: str,
    network: NetworkFactory,
    epochs: int,
    progress: ProgressCallback = no_progress,
    **sgd: float,
) -> LabelledImages:
    """ipc real images of each class, their mean feature kept nearest the class's (Table 3, Herding).

    Args:
        features: `network`: the map before the last layer of one network trained on the real set; `pixels`.
        network: makes it, given `channels`, `size` and `classes`; a Sequential that ends in the linear layer.
        epochs: number of epochs of its training.
        progress: called with the number of epochs done.
        sgd: the other settings of its training, see `SGDSettings`.
    """
    _refuse_too_many(train, ipc)
    extract: nn.Module = nn.Flatten()
    if features == "network":
        with seeded(int(torch.randint(2**31, (), generator=rng)), "herding-network"):
            _, channels, *size = train.images.shape
            fresh = network(channels=channels, size=tuple(size), classes=len(train.classes))
        settings = SGDSettings(**sgd)  # type: ignore[arg-type]
        per_epoch = steps_per_epoch(train, settings.batch_size)
        extract = trained_features(
            fresh.to(train.device),
            train,
            steps=epochs * per_epoch,
            rng=rng,
            sgd=settings,
            progress=lambda steps: progress(steps / per_epoch),
        )
    chosen = [own[herd(features_of(extract, train, own), ipc)] for own in train.class_indices()]
    return LabelledImages(*train.batch(torch.cat(chosen)))


def herd(features: Tensor, number: int) -> Tensor:
    """Rows of features [N, length]: each brings the mean of those so far nearest the mean of all."""
    mean, total = features.mean(0), torch.zeros_like(features[0])
    free = torch.zeros(len(features), dtype=features.dtype, device=features.device)
    rows = []
    for i in range(1, number + 1):
        distance = (mean - (total + features) / i).norm(dim=1) + free
        rows.append(int(distance.argmin()))
        total = total + features[rows[-1]]
        free[rows[-1]] = torch.inf
    return torch.tensor(rows)


def condensed(train: RealImages, ipc: int, rng: torch.Generator, *, path: str | None) -> LabelledImages:
    """The condensed set of an artifact or run folder, to be condensed further or evaluated as it is."""
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
    for what, (of_set, wanted) in pairs.items():
        if of_set != wanted:
            raise ConfigError(f"initialization.path={path}: its {what} {of_set}, not {wanted}")
    if not dataset.metadata.get("complete", True):
        raise ConfigError(f"initialization.path={path}: its run stopped before its end; name a complete set")
    order = torch.argsort(dataset.labels, stable=True)
    return LabelledImages(dataset.images[order], dataset.labels[order]).to(train.device)


def _refuse_too_many(train: RealImages, ipc: int) -> None:
    smallest = min(train.counts)
    if ipc > smallest:
        name = train.classes[train.counts.index(smallest)]
        raise ConfigError(
            f"ipc: {ipc} images of class {name!r} are wanted, and it has only {smallest}; use a smaller ipc, "
            "or initialization=noise with evaluation.baselines.random=0"
        )
