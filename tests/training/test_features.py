"""Features come from a network that is trained as its settings say."""

import copy

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from gmlight.data.images import LabelledImages
from gmlight.training.features import trained_features
from gmlight.training.steps import SGDSettings
from helpers.problems import random_images


def test_the_network_is_trained_by_hand() -> None:
    images, labels = random_images(7, 1, 3, 3), torch.arange(7) % 3
    network = nn.Sequential(nn.Flatten(), nn.Linear(9, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    twin, told = copy.deepcopy(network), []
    extract = trained_features(
        network, LabelledImages(images, labels), steps=4, rng=torch.Generator().manual_seed(5),
        sgd=SGDSettings(batch_size=4, lr=0.2, momentum=0.7, weight_decay=0.03), progress=told.append,
    )  # fmt: skip
    rng = torch.Generator().manual_seed(5)
    epochs = [torch.randperm(7, generator=rng).split(4) for _ in range(2)]
    velocity = [torch.zeros_like(p) for p in twin.parameters()]
    for indices in (indices for epoch in epochs for indices in epoch):
        loss = cross_entropy(twin(images[indices]), labels[indices])
        gradients = torch.autograd.grad(loss, list(twin.parameters()))
        with torch.no_grad():
            for p, v, g in zip(twin.parameters(), velocity, gradients, strict=True):
                v.mul_(0.7).add_(g + 0.03 * p)
                p.sub_(0.2 * v)
    torch.testing.assert_close(extract(images), twin[:3](images).detach())
    assert told == [1, 2, 3, 4]


def test_the_features_of_an_image_depend_on_no_other_image() -> None:
    images, labels = random_images(6, 1, 3, 3).float(), torch.arange(6) % 3
    network = nn.Sequential(nn.Flatten(), nn.Linear(9, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    sgd = SGDSettings(batch_size=4, lr=0.2, momentum=0.7, weight_decay=0.0)
    rng = torch.Generator().manual_seed(5)
    extract = trained_features(network, LabelledImages(images, labels), steps=4, rng=rng, sgd=sgd)
    torch.testing.assert_close(extract(images)[2:3], extract(images[2:3]))
