"""How good a set is: the test accuracy of fresh networks trained on it from scratch (section 4.1)."""

import copy
import functools
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.func import functional_call
from torchmetrics.classification import MulticlassAccuracy

from gmlight.artifacts.accuracy_log import AccuracyLog
from gmlight.artifacts.results import Accuracy, Evaluation
from gmlight.data.augmentation import Augmentation, CutMix
from gmlight.data.datamodule import CondensationData
from gmlight.data.images import TrainingSet
from gmlight.runtime.compile import Compilation, Compiled
from gmlight.runtime.distributed import ranks
from gmlight.runtime.flops import forward_flops
from gmlight.runtime.memory import explain_out_of_memory
from gmlight.runtime.progress import ProgressCallback, no_progress, show_progress
from gmlight.runtime.seeding import generator, seeded
from gmlight.runtime.sizing import fitting_batch_size
from gmlight.training.ensemble import Ensemble
from gmlight.training.steps import NetworkFactory, steps_per_epoch, training_steps


@dataclass
class Evaluator:
    """Trains fresh networks on a set from scratch and tests them on the real test set.

    SGD for `epochs` epochs, the learning rate times 0.1 at half of them (protocol of section 4.1).

    Args:
        factory: makes a network; called under a seed of its own each time.
        data: holds the test set, once it is loaded.
        test_batch: images at once while testing; null: as the device's caches or memory hold.
        networks_at_once: trained side by side; null: one on a CPU, on an accelerator what its memory holds.
        compilation: whether testing is compiled.
        None of these three has an influence on the accuracy but by rounding.
    """

    factory: NetworkFactory
    data: CondensationData
    epochs: int
    lr: float
    momentum: float
    weight_decay: float
    batch_size: int
    augmentation: Augmentation
    cutmix: CutMix | None
    seed: int
    test_batch: int | None
    networks_at_once: int | None
    compilation: Compilation
    protocol: str
    _compiled_test: Compiled | None = field(default=None, init=False)
    _operations: int | None = field(default=None, init=False)  # of a test image

    def __call__(
        self,
        images: TrainingSet,
        networks: int,
        progress: ProgressCallback = no_progress,
        accuracies: MutableMapping[int, float] | None = None,
    ) -> Accuracy:
        """The accuracies of networks 0..networks-1, whose seeds depend on nothing else.

        Several ranks share the networks; all of them learn all accuracies.

        Args:
            progress: told the number of networks done, those in training by their share of epochs.
            accuracies: by network, those that are known already; takes the others as they come.
        """
        # Rank 0's word is everybody's: what is known, and how many train at once on devices that may differ.
        known, together = ranks.broadcast((dict(accuracies or {}), self.together(images)))
        missing = [i for i in range(networks) if i not in known]
        while missing:
            done = networks - len(missing)
            of_round, missing = missing[: together * ranks.size], missing[together * ranks.size :]
            own = of_round[together * ranks.rank : together * (ranks.rank + 1)]
            tell = functools.partial(_tell, progress, done, len(of_round))
            found = self._found(images, own, networks, tell) if own else []
            gathered = ranks.gather(dict(zip(own, found, strict=True)))
            known |= gathered
            if accuracies is not None:
                accuracies.update(gathered)
            tell(1)
        return Accuracy([known[i] for i in range(networks)], epochs=self.epochs, protocol=self.protocol)

    def _found(
        self, images: TrainingSet, own: Sequence[int], networks: int, progress: ProgressCallback
    ) -> list[float]:
        together = "evaluation.networks_at_once"
        with explain_out_of_memory("the training of evaluation networks", together, lambda: len(own)):
            ensemble = self.trained(images, own, progress)
        testable = functools.partial(self._testable, ensemble)
        with explain_out_of_memory(
            "the test", "evaluation.test_batch", lambda: self.test_batch or testable()
        ):
            return self.accuracies(ensemble, networks)

    def trained(
        self, images: TrainingSet, members: Sequence[int], progress: ProgressCallback = no_progress
    ) -> Ensemble:
        """The fresh networks of these numbers after their epochs on the images.

        Args:
            progress: told the share of the epochs that is done.
        """
        for epoch, ensemble in enumerate(self.training(images, members)):  # noqa: B007 the last one is wanted
            progress(epoch / self.epochs)
        return ensemble

    def training(self, images: TrainingSet, members: Sequence[int]) -> Iterator[Ensemble]:
        """The same networks, fresh and then after each epoch."""
        ensemble = Ensemble([self._fresh(i) for i in members]).to(self.data.test.device)
        optimizer = torch.optim.SGD(
            ensemble.parameters(), lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay
        )
        steps = training_steps(
            ensemble,
            optimizer,
            images,
            batch_size=self.batch_size,
            rngs=[generator(self.seed, "evaluation-batches", i) for i in members],
            augmentation=self.augmentation,
            cutmix=self.cutmix,
        )
        yield ensemble
        for epoch in range(self.epochs):
            if epoch == self.epochs // 2 and epoch > 0:
                optimizer.param_groups[0]["lr"] = self.lr * 0.1
            with torch.enable_grad():
                for _ in range(steps_per_epoch(images, self.batch_size)):
                    next(steps)
            yield ensemble

    def together(self, images: TrainingSet) -> int:
        """How many networks train on the images side by side."""
        if self.networks_at_once is not None:
            return self.networks_at_once
        if self.data.test.device.type == "cpu":
            return 1
        image, _ = images.batch(torch.zeros(1, dtype=torch.long))
        at_once = fitting_batch_size(self._fresh(0).to(image.device).eval(), image)
        return max(1, at_once // min(len(images), self.batch_size))

    @torch.no_grad()
    def accuracies(self, ensemble: Ensemble, networks: int = 1) -> list[float]:
        """Share of the test images whose class each network gets right, in percent.

        Args:
            networks: how many are tested in all, by which it is decided whether to compile the test.
        """
        ensemble.eval()
        self._prepare_test(ensemble, networks)
        test, device = self.data.test, self.data.test.device
        metrics = [
            # Of this rank's networks alone: by itself it would pool those of all ranks.
            MulticlassAccuracy(num_classes=len(test.counts), average="micro", sync_on_compute=False).to(
                device
            )
            for _ in range(ensemble.size)
        ]
        for indices in torch.arange(len(test)).split(self.test_batch or self._testable(ensemble)):
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
        # Networks side by side are what an accelerator does; what is compiled is for one alone.
        if self._compiled_test is not None or ensemble.size > 1:
            return
        test = self.data.test

        def work() -> int:
            if self._operations is None:
                self._operations = forward_flops(ensemble.only, test.images.shape[1:])
            return networks * len(test) * self._operations

        if self.compilation.should_compile(work, test.device):
            function = functools.partial(functional_call, copy.deepcopy(ensemble).eval())
            self._compiled_test = Compiled(function, "the test", self.compilation.notify)

    def _testable(self, ensemble: Ensemble) -> int:
        image, _ = self.data.test.batch(torch.zeros(1, dtype=torch.long))
        return fitting_batch_size(ensemble, image.expand(ensemble.size, *image.shape))

    def _fresh(self, i: int) -> nn.Module:
        with seeded(self.seed, "evaluation-network", i), torch.enable_grad():
            return self.factory()


def _tell(progress: ProgressCallback, done: int, of_round: int, share: float) -> None:
    progress(done + share * of_round)


class EvaluatedSet(NamedTuple):
    """A training set to evaluate.

    Args:
        name: shown in tables.
        images: what the networks are trained on.
        networks: how many, on each architecture.
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
        evaluators: by architecture.
        sets: in the order of the table.
        console: where progress is shown.
        log: keeps each accuracy, and knows those of an interrupted evaluation.
    """
    evaluations = []
    for name, images, networks in sets:
        for architecture, evaluator in evaluators.items():
            doing = f"evaluating {name} on {architecture}"
            with show_progress(doing, "network", networks, console) as progress:
                known = None if log is None else log.accuracies(name, images, architecture)
                accuracy = evaluator(images, networks, progress, known)
            evaluations.append(Evaluation(name, len(images), 4 * images.floats, architecture, accuracy))
    return evaluations
