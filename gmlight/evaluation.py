"""How good a set is: the test accuracy of fresh networks trained on it from scratch (section 4.1)."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn
from torchmetrics.classification import MulticlassAccuracy

from gmlight.augmentation import Augmentation
from gmlight.data import CondensationData, TrainingSet
from gmlight.randomness import generator, seeded
from gmlight.training import NetworkFactory, steps_per_epoch, training_steps


@dataclass(frozen=True)
class Accuracy:
    """Test accuracies in percent, one a network, and how the networks were trained."""

    values: list[float]
    epochs: int = field(kw_only=True)

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def std(self) -> float:
        """Population standard deviation over the networks."""
        return statistics.pstdev(self.values)

    def __str__(self) -> str:
        return f"{self.mean:.2f} ± {self.std:.2f}"


@dataclass(frozen=True)
class Evaluator:
    """Trains fresh networks on a set from scratch and tests them on the real test set.

    SGD for `epochs` epochs, the learning rate times 0.1 at half of them (protocol of section 4.1).

    Args:
        factory: makes a network; called under a seed of its own each time.
        data: holds the test set, once it is loaded.
        test_batch: images at once while testing; no influence on the accuracy.
    """

    factory: NetworkFactory
    data: CondensationData
    epochs: int
    lr: float
    momentum: float
    weight_decay: float
    batch_size: int
    test_batch: int
    augmentation: Augmentation
    seed: int

    def __call__(
        self, images: TrainingSet, networks: int, finished: Callable[[int], None] | None = None
    ) -> Accuracy:
        """The accuracies of networks 0..networks-1, whose seeds depend on nothing else.

        Args:
            finished: called with the number of networks done after each.
        """
        accuracies = []
        for i in range(networks):
            accuracies.append(self.accuracy(self.trained(images, i)))
            if finished is not None:
                finished(i + 1)
        return Accuracy(accuracies, epochs=self.epochs)

    def trained(self, images: TrainingSet, i: int) -> nn.Module:
        """Fresh network number i after its epochs on the images."""
        with seeded(self.seed, "evaluation-network", i), torch.enable_grad():
            network = self.factory()
        network = network.to(self.data.test.device)
        optimizer = torch.optim.SGD(
            network.parameters(), lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay
        )
        rng = generator(self.seed, "evaluation-batches", i)
        steps = training_steps(
            network,
            optimizer,
            images,
            batch_size=self.batch_size,
            rng=rng,
            augmentation=self.augmentation,
        )
        for epoch in range(self.epochs):
            if epoch == self.epochs // 2 and epoch > 0:
                optimizer.param_groups[0]["lr"] = self.lr * 0.1
            with torch.enable_grad():
                for _ in range(steps_per_epoch(images, self.batch_size)):
                    next(steps)
        return network

    @torch.no_grad()
    def accuracy(self, network: nn.Module) -> float:
        """Share of the test images whose class the network gets right, in percent."""
        network.eval()
        metric = MulticlassAccuracy(num_classes=len(self.data.test.counts), average="micro").to(
            self.data.test.device
        )
        for indices in torch.arange(len(self.data.test)).split(self.test_batch):
            images, labels = self.data.test.batch(indices)
            metric.update(network(images), labels)
        return 100 * metric.compute().item()
