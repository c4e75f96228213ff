"""Test accuracy of fresh networks trained on a set from scratch (section 4.1)."""

import copy
import functools
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.func import functional_call
from torchmetrics.classification import MulticlassAccuracy

from gmlight.artifacts.accuracy_log import AccuracyLog
from gmlight.artifacts.results import Accuracy, Evaluation
from gmlight.data.datamodule import CondensationData
from gmlight.data.images import RealImages, TrainingSet
from gmlight.runtime.compile import Compilation, Compiled
from gmlight.runtime.distributed import ranks
from gmlight.runtime.flops import forward_flops
from gmlight.runtime.memory import explain_out_of_memory
from gmlight.runtime.progress import ProgressCallback, no_progress, show_progress
from gmlight.runtime.seeding import generator, seeded
from gmlight.runtime.sizing import fitting_batch_size
from gmlight.training.ensemble import Ensemble
from gmlight.training.protocol import EvaluationProtocol
from gmlight.training.steps import ExtraLoss, NetworkFactory, steps_per_epoch, training_steps


@dataclass
class Evaluator:
    """Trains fresh networks on a set from scratch and tests them on the real test set.

    `test_batch`, `networks_at_once` and `compilation` change accuracies by rounding at most.

    Args:
        factory: makes a network; called with a different seed for each network.
        data: provides the test set; loaded before the first call.
        protocol: how the networks are trained.
        seed: of the networks and their mini-batches.
        test_batch: images at once in the test; None: as many as the device's caches or memory hold.
        networks_at_once: networks trained in parallel; None: one on a CPU, as many as fit an accelerator.
        compilation: decides whether the test is compiled; None: it is not.
        epoch_steps: mini-batches in an epoch, which may be fewer than the set has; None: all of the set.
        start: makes the network before its training, under the seed of its number; None: the factory.
        extra_loss: added to the loss of the training; None: nothing.
    """

    factory: NetworkFactory
    data: CondensationData
    protocol: EvaluationProtocol = EvaluationProtocol()  # noqa: RUF009 frozen
    seed: int = 0
    test_batch: int | None = None
    networks_at_once: int | None = None
    compilation: Compilation | None = None
    epoch_steps: int | None = None
    start: Callable[[], nn.Module] | None = None
    extra_loss: ExtraLoss | None = None
    _compiled_test: Compiled | None = field(default=None, init=False)
    _operations: int | None = field(default=None, init=False)  # per test image

    def __call__(
        self,
        images: TrainingSet,
        networks: int,
        progress: ProgressCallback = no_progress,
        accuracies: MutableMapping[int, float] | None = None,
    ) -> Accuracy:
        """Computes the accuracies of networks 0..networks-1.

        The seed of a network depends on its number alone. Ranks divide the networks among them; every rank
        gets all accuracies.

        Args:
            images: the training set.
            networks: number of networks.
            progress: called with the number of networks done, a fraction while they train.
            accuracies: known accuracies by network number; new ones are added as they are measured.
        """
        # Broadcast from rank 0 so that all ranks agree, even if their devices differ.
        known, at_once = ranks.broadcast((dict(accuracies or {}), self.parallel_networks(images)))
        missing = [i for i in range(networks) if i not in known]
        while missing:
            done = networks - len(missing)
            this_round, missing = missing[: at_once * ranks.size], missing[at_once * ranks.size :]
            members = this_round[at_once * ranks.rank : at_once * (ranks.rank + 1)]
            report = functools.partial(_report_share, progress, done, len(this_round))
            measured = self._measure(images, members, networks, report) if members else []
            gathered = ranks.gather(dict(zip(members, measured, strict=True)))
            known |= gathered
            if accuracies is not None:
                accuracies.update(gathered)
            report(1)
        values = [known[i] for i in range(networks)]
        return Accuracy(values, epochs=self.protocol.epochs, protocol=self.protocol.name)

    def _measure(
        self, images: TrainingSet, members: Sequence[int], networks: int, progress: ProgressCallback
    ) -> list[float]:
        key = "evaluation.networks_at_once"
        with explain_out_of_memory("the training of evaluation networks", key, lambda: len(members)):
            ensemble = self.trained(images, members, progress)
        default = functools.partial(self._default_test_batch, ensemble)
        with explain_out_of_memory("the test", "evaluation.test_batch", lambda: self.test_batch or default()):
            return self.accuracies(ensemble, networks)

    def trained(
        self, images: TrainingSet, members: Sequence[int], progress: ProgressCallback = no_progress
    ) -> Ensemble:
        """Trains fresh networks.

        Args:
            images: the training set.
            members: the networks' numbers.
            progress: called with the share of the epochs that is done.
        """
        for epoch, ensemble in enumerate(self.training(images, members)):  # noqa: B007 the last one is wanted
            progress(epoch / self.protocol.epochs)
        return ensemble

    def training(self, images: TrainingSet, members: Sequence[int]) -> Iterator[Ensemble]:
        """Yields the same networks fresh and then after each epoch."""
        protocol = self.protocol
        ensemble = Ensemble([self._fresh(i) for i in members]).to(self.data.test.device)
        optimizer = protocol.sgd.optimizer(ensemble)
        steps = training_steps(
            ensemble,
            optimizer,
            images,
            batch_size=protocol.sgd.batch_size,
            rngs=[generator(self.seed, "evaluation-batches", i) for i in members],
            augmentation=protocol.augmentation,
            cutmix=protocol.cutmix,
            precision=protocol.precision,
            extra_loss=self.extra_loss,
        )
        yield ensemble
        in_epoch = self.epoch_steps or steps_per_epoch(images, protocol.sgd.batch_size)
        for epoch in range(protocol.epochs):
            optimizer.param_groups[0]["lr"] = protocol.lr(epoch)
            with torch.enable_grad():
                for _ in range(in_epoch):
                    next(steps)
            yield ensemble

    def with_epochs(self, epochs: int) -> "Evaluator":
        """Returns an evaluator that trains for another number of epochs."""
        return replace(self, protocol=replace(self.protocol, epochs=epochs))

    def parallel_networks(self, images: TrainingSet) -> int:
        """Returns the number of networks that train on the images in parallel."""
        if self.networks_at_once is not None:
            return self.networks_at_once
        if self.data.test.device.type == "cpu":
            return 1
        image, _ = images.batch(torch.zeros(1, dtype=torch.long))
        fitting = fitting_batch_size(self._fresh(0).to(image.device).eval(), image)
        return max(1, fitting // min(len(images), self.protocol.sgd.batch_size))

    @torch.no_grad()
    def accuracies(
        self, ensemble: Ensemble, networks: int = 1, test: RealImages | None = None
    ) -> list[float]:
        """Computes the share of test images that each network classifies correctly, in percent.

        Args:
            ensemble: the networks.
            networks: number of networks tested in the whole evaluation, which decides whether to compile.
            test: the test images; None: those of the data.
        """
        ensemble.eval()
        self._prepare_test(ensemble, networks)
        test = self.data.test if test is None else test
        device = test.device
        # Not synchronized, because every rank tests different networks.
        options: dict = {"num_classes": len(test.counts), "average": "micro", "sync_on_compute": False}
        metrics = [MulticlassAccuracy(**options).to(device) for _ in range(ensemble.size)]
        for indices in torch.arange(len(test)).split(self.test_batch or self._default_test_batch(ensemble)):
            images, labels = test.batch(indices)
            for metric, logits in zip(metrics, self._logits(ensemble, images), strict=True):
                metric.update(logits, labels)
        return [100 * metric.compute().item() for metric in metrics]

    def _logits(self, ensemble: Ensemble, images: Tensor) -> Tensor:  # [n, batch, classes]
        inputs = images.expand(ensemble.size, *images.shape)
        if self._compiled_test is None or ensemble.size > 1:
            return ensemble(inputs)
        parameters = {name: parameter.detach() for name, parameter in ensemble.named_parameters()}
        return self._compiled_test(parameters | dict(ensemble.named_buffers()), inputs)

    def _prepare_test(self, ensemble: Ensemble, networks: int) -> None:
        # Only a single network is compiled; accelerators test several in parallel.
        if self.compilation is None or self._compiled_test is not None or ensemble.size > 1:
            return
        test = self.data.test

        def operations() -> int:
            if self._operations is None:
                self._operations = forward_flops(ensemble.only, test.images.shape[1:])
            return networks * len(test) * self._operations

        if self.compilation.should_compile(operations, test.device):
            function = functools.partial(functional_call, copy.deepcopy(ensemble).eval())
            self._compiled_test = Compiled(function, "the test", self.compilation.notify)

    def _default_test_batch(self, ensemble: Ensemble) -> int:
        image, _ = self.data.test.batch(torch.zeros(1, dtype=torch.long))
        return fitting_batch_size(ensemble, image.expand(ensemble.size, *image.shape))

    def _fresh(self, i: int) -> nn.Module:
        with seeded(self.seed, "evaluation-network", i), torch.enable_grad():
            return self.factory() if self.start is None else self.start()


def _report_share(progress: ProgressCallback, done: int, in_round: int, share: float) -> None:
    progress(done + share * in_round)


class EvaluatedSet(NamedTuple):
    """A training set to evaluate.

    Args:
        name: shown in tables.
        images: what the networks are trained on.
        networks: number of networks of each architecture.
    """

    name: str
    images: TrainingSet
    networks: int


def evaluate_sets(
    evaluators: dict[str, Evaluator],
    sets: Sequence[EvaluatedSet],
    console: Console,
    log: AccuracyLog | None = None,
) -> list[Evaluation]:
    """Evaluates each set on each architecture, with progress on the console.

    Args:
        evaluators: by name of the architecture.
        sets: in the order of the table.
        console: where progress is shown.
        log: stores each accuracy and returns those of an interrupted evaluation; None: nothing is stored.

    Returns:
        The evaluations, by set and then by architecture.
    """
    evaluations = []
    for name, images, networks in sets:
        for architecture, evaluator in evaluators.items():
            task = f"evaluating {name} on {architecture}"
            with show_progress(task, "network", networks, console) as progress:
                known = None if log is None else log.accuracies(name, images, architecture)
                accuracy = evaluator(images, networks, progress, known)
            evaluations.append(Evaluation(name, len(images), 4 * images.floats, architecture, accuracy))
    return evaluations
