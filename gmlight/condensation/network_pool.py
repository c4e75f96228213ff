"""Networks that were trained on real images for a few epochs, from which each outer iteration starts.

Zhang et al., "Accelerating Dataset Distillation via Model Augmentation", CVPR 2023: matching the gradients of
a few trained networks, each time perturbed at random, takes a fraction of the iterations of fresh networks.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from gmlight.data.augmentation import Augmentation, CutMix, none
from gmlight.data.images import TrainingSet
from gmlight.runtime.atomic import atomic_write
from gmlight.runtime.distributed import is_main, ranks
from gmlight.runtime.profiling import measure_seconds
from gmlight.runtime.progress import ProgressCallback, no_progress, show_progress
from gmlight.runtime.seeding import generator, seeded
from gmlight.training.ensemble import Ensemble
from gmlight.training.steps import SGDSettings, steps_per_epoch, training_steps

MEASURED_STEPS = 3  # of an estimate

State = dict[str, Tensor]  # values of a network's parameters and buffers, by name, on the CPU


@dataclass
class NetworkPool:
    """Trained networks; each outer iteration draws one and perturbs it.

    Args:
        factory: makes a network.
        train_on: real images.
        size: number of networks.
        epochs: of their training; a fraction is rounded up to whole steps.
        least: smallest amount of a perturbation.
        most: largest amount.
        sgd: how they are trained.
        augmentation: transforms each mini-batch.
        cutmix: applied after the augmentation; None: not applied.
        precision: of convolutions and matrix products in the training, by autocast; None: the networks'.
        file: keeps the trained networks for a resumed run; None: they are not kept.
        console: shows the progress of the training; None: no progress.
    """

    factory: Callable[[], nn.Module]
    train_on: TrainingSet
    size: int = 5
    epochs: float = 2
    least: float = 0.01
    most: float = 0.09
    sgd: SGDSettings = SGDSettings()  # noqa: RUF009 frozen
    augmentation: Augmentation = none
    cutmix: CutMix | None = None
    precision: torch.dtype | None = None
    file: Path | None = None
    console: Console | None = None
    _states: dict[int, State] = field(default_factory=dict, init=False)

    def prepare(self, seed: int, device: torch.device) -> None:
        """Trains the networks that the file lacks; ranks divide them among them.

        Args:
            seed: of the run.
            device: to train on.
        """
        self._states = ranks.broadcast(self._read())
        missing = [i for i in range(self.size) if i not in self._states]
        if not missing:
            return
        shown: AbstractContextManager[ProgressCallback] = nullcontext(no_progress)
        if self.console is not None:
            shown = show_progress("training the pool", "network", self.size, self.console)
        with shown as progress:
            while missing:
                progress(self.size - len(missing))
                together, missing = missing[: ranks.size], missing[ranks.size :]
                mine = {i: self._trained(i, seed, device) for i in together[ranks.rank : ranks.rank + 1]}
                for trained in ranks.gather_objects(mine):
                    self._states |= trained
                self._write()
                progress(self.size - len(missing))

    def start(self, network: nn.Module, seed: int, k: int) -> None:
        """Gives a network the values of one of the pool, drawn and perturbed by outer iteration k.

        Args:
            network: on the CPU.
            seed: of the run.
            k: outer iteration.
        """
        rng = generator(seed, "pool", k)
        network.load_state_dict(self._states[int(torch.randint(self.size, (), generator=rng))])
        perturb(network, rng, self.least, self.most)

    def estimate_seconds(self, seed: int, device: torch.device) -> float:
        """Measures a few training steps, and estimates the seconds of all networks of a run.

        Args:
            seed: of the run.
            device: to train on.
        """
        _, steps = self._training(0, seed, device)
        next(steps)  # warm-up
        seconds = measure_seconds(lambda: [next(steps) for _ in range(MEASURED_STEPS)], device)
        return self.size * self._count_steps() * seconds / MEASURED_STEPS

    def _count_steps(self) -> int:
        return math.ceil(self.epochs * steps_per_epoch(self.train_on, self.sgd.batch_size))

    def _training(self, i: int, seed: int, device: torch.device) -> tuple[nn.Module, Iterator[None]]:
        with seeded(seed, "pool-network", i):
            network = self.factory().to(device)
        return network, training_steps(
            Ensemble([network]),
            self.sgd.optimizer(network),
            self.train_on,
            batch_size=self.sgd.batch_size,
            rngs=[generator(seed, "pool-batches", i)],
            augmentation=self.augmentation,
            cutmix=self.cutmix,
            precision=self.precision,
        )

    def _trained(self, i: int, seed: int, device: torch.device) -> State:
        network, steps = self._training(i, seed, device)
        with torch.enable_grad():
            for _ in range(self._count_steps()):
                next(steps)
        return {name: value.detach().cpu() for name, value in network.state_dict().items()}

    def _read(self) -> dict[int, State]:
        # The networks in the file that are whole; a damaged file has none.
        with torch.device("meta"):
            shapes = {name: value.shape for name, value in self.factory().state_dict().items()}
        try:
            values = {} if self.file is None else load(self.file.read_bytes())
        except (OSError, SafetensorError):
            values = {}
        found = {}
        for i in range(self.size):
            state = {name: values[f"{i}.{name}"] for name in shapes if f"{i}.{name}" in values}
            if {name: value.shape for name, value in state.items()} == shapes:
                found[i] = state
        return found

    def _write(self) -> None:
        if self.file is None or not is_main():
            return
        values = {f"{i}.{name}": value for i, state in self._states.items() for name, value in state.items()}
        with suppress(OSError), atomic_write(self.file) as partial:  # without it, a resumed run trains again
            partial.write_bytes(save({name: value.contiguous() for name, value in values.items()}))


@torch.no_grad()
def perturb(network: nn.Module, rng: torch.Generator, least: float, most: float) -> None:
    """Moves a network along two random directions.

    A direction has Gaussian noise for each filter or row of a weight, scaled to its norm, and zeros for
    biases and for the parameters of norms. It is added in an amount from `least` to `most`, forwards or
    backwards.

    Args:
        network: on the CPU; changed in place.
        rng: CPU generator.
        least: smallest amount.
        most: largest amount.
    """
    drawn = torch.rand(2, 2, generator=rng).tolist()
    amounts = [(1 if sign < 0.5 else -1) * (least + (most - least) * size) for sign, size in drawn]
    for weight in _weights(network):
        norms = weight.flatten(1).norm(dim=1)
        change = torch.zeros_like(weight.data)
        for amount in amounts:
            direction = torch.randn(weight.shape, generator=rng).to(weight)
            lengths = direction.flatten(1).norm(dim=1)
            change += amount * direction * (norms / lengths).view(-1, *[1] * (weight.ndim - 1))
        weight.add_(change)


def _weights(network: nn.Module) -> Iterator[nn.Parameter]:
    return (parameter for parameter in network.parameters() if parameter.ndim >= 2)
