"""The inner loop: training of the network between image updates (Algorithm 1, lines 10 to 13)."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from gmlight.condensation.network_pool import NetworkPool
from gmlight.condensation.schedules import Schedule, adaptive
from gmlight.data.augmentation import Augmentation, CutMix, none
from gmlight.data.images import LabelledImages, RealBatch, TrainingSet
from gmlight.errors import ConfigError
from gmlight.matching.losses import in_batches, summed_loss
from gmlight.runtime.distributed import ranks
from gmlight.runtime.seeding import generator, seeded, to_device
from gmlight.training.ensemble import Ensemble
from gmlight.training.steps import steps_per_epoch, training_steps

# Makes an optimizer of parameters, such as functools.partial(torch.optim.SGD, lr=0.01).
MakeOptimizer = Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer]

NETWORK_SGD = functools.partial(torch.optim.SGD, lr=0.01, momentum=0.5)  # the paper's
EQUATION_12 = functools.partial(adaptive, epochs={0: 50, 1: 40, 2: 30, 3: 20, 4: 10, 10: 5})


class InnerLoop:
    """The network of one outer iteration, and its training between image updates.

    Args:
        factory: makes a network; called with a different seed at each outer iteration.
        schedule: decides how long the network trains after each image update.
        optimizer: makes the network's optimizer; by default the paper's.
        unit: unit of the schedule, `epochs` over the synthetic set or mini-batch `steps`.
        batch_size: images in a mini-batch.
        train_on: images that the network trains on; None: the synthetic set. An epoch always has as many
            steps as an epoch over the synthetic set.
        augmentation: transforms each mini-batch.
        cutmix: applied after the augmentation; None: not applied.
        pool: trained networks that outer iterations start from; None: each starts from a fresh network.
        precision: of convolutions and matrix products in the training, by autocast; None: the network's.

    Attributes:
        network: the network of the current outer iteration; None before the first.
    """

    def __init__(
        self,
        factory: Callable[[], nn.Module],
        schedule: Schedule = EQUATION_12,
        *,
        optimizer: MakeOptimizer = NETWORK_SGD,
        unit: str = "epochs",
        batch_size: int = 256,
        train_on: TrainingSet | None = None,
        augmentation: Augmentation = none,
        cutmix: CutMix | None = None,
        pool: NetworkPool | None = None,
        precision: torch.dtype | None = None,
    ) -> None:
        self.factory, self.schedule = factory, schedule
        self.augmentation, self.cutmix, self.pool = augmentation, cutmix, pool
        self._make_optimizer, self._unit = optimizer, unit
        self._batch_size, self._train_on, self._precision = batch_size, train_on, precision
        self.network: nn.Module | None = None
        self._optimizer: torch.optim.Optimizer | None = None

    def start(self, seed: int, k: int, device: torch.device) -> None:
        """Makes the network of outer iteration k, and its optimizer, on the device."""
        with seeded(seed, "network", k):
            self.network = self.factory()
        if self.pool is not None:
            self.pool.start(self.network, seed, k)
        self._place(device)

    def _place(self, device: torch.device) -> None:
        # Moves the network to the device, and makes its optimizer.
        assert self.network is not None
        for tensor in (*self.network.parameters(), *self.network.buffers()):
            tensor.data = to_device(tensor.data, device)
        self._optimizer = self._make_optimizer(self.network.parameters())

    @torch.no_grad()
    def update_running_statistics(self, images: Tensor) -> None:
        """Updates batch norm's running statistics by one forward pass on images [n, channels, H, W]."""
        assert self.network is not None
        self.network.train()
        self.network(images)

    def train(self, synthetic: LabelledImages, batch: RealBatch, seed: int) -> int:
        """Trains the network for as many epochs or steps as the schedule yields.

        Args:
            synthetic: the synthetic set after the image update.
            batch: the real images of the update; a schedule may measure the loss on its `mixed` images.
            seed: of the run.

        Returns:
            zeta, the number of epochs or steps.
        """
        assert self.network is not None, "call start() first"
        assert self._optimizer is not None
        steps = training_steps(
            Ensemble([self.network]),
            self._optimizer,
            synthetic if self._train_on is None else self._train_on,
            batch_size=self._batch_size,
            rngs=[generator(seed, "network-batches", batch.k, batch.t)],
            augmentation=self.augmentation,
            cutmix=self.cutmix,
            precision=self._precision,
        )
        unit_steps = 1 if self._unit == "steps" else steps_per_epoch(synthetic, self._batch_size)
        zeta = 0
        for _ in self.schedule(batch.t, _CurrentLosses(self.network, batch, synthetic)):
            for _ in range(unit_steps):
                next(steps)
            zeta += 1
        # On an accelerator the same steps may round differently on each rank: all take rank 0's values.
        ranks.broadcast_tensors(
            tensor.data for tensor in (*self.network.parameters(), *self.network.buffers())
        )
        return zeta

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of network and optimizer, for a checkpoint between two updates of one k."""
        assert self.network is not None
        assert self._optimizer is not None
        return {"network": self.network.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Restores the network and its optimizer on the device."""
        with seeded(0, "network", 0):  # all values are loaded next
            self.network = self.factory()
        self._place(device)
        assert self._optimizer is not None
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])


class _CurrentLosses:
    """Losses that a schedule may measure between epochs."""

    def __init__(self, network: nn.Module, batch: RealBatch, synthetic: LabelledImages) -> None:
        self._network, self._batch, self._synthetic = network, batch, synthetic

    def real(self) -> float:
        if self._batch.mixed is None:
            raise ConfigError(
                "mixed_batch=0: this schedule measures the loss on mixed real images; use mixed_batch=256"
            )
        return self._mean_loss(*self._batch.mixed)

    def synthetic(self) -> float:
        return self._mean_loss(self._synthetic.images, self._synthetic.labels)

    def _mean_loss(self, images: Tensor, labels: Tensor) -> float:
        self._network.eval()
        total, count = summed_loss(self._network, in_batches(images, labels))
        return (total / count).item()
