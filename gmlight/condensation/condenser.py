"""The LightningModule: wires the parts of Algorithm 1 together and decides nothing itself."""

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import lightning
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gmlight.condensation.finiteness import FiniteWatch
from gmlight.condensation.schedules import Schedule
from gmlight.condensation.synthetic import Synthetic, flatten
from gmlight.data.augmentation import none
from gmlight.data.dsa import Siamese
from gmlight.data.images import ByLabel, ClassDraw, LabelledImages, RealBatch, TrainingSet
from gmlight.matching.class_gradients import Layers
from gmlight.matching.diagnostics import image_statistics, losses
from gmlight.matching.distances import Distance
from gmlight.matching.engine import GradientEngine
from gmlight.matching.image_gradient import ImageGradient, Outcome, RealGradients
from gmlight.matching.rules import Matching
from gmlight.runtime.distributed import ranks
from gmlight.runtime.seeding import generator, seeded, to_device
from gmlight.training.ensemble import Ensemble
from gmlight.training.steps import steps_per_epoch, training_steps


class Condenser(lightning.LightningModule):
    """Learns S by gradient matching; one `training_step` is one image update t of outer iteration k.

    Which update it is comes with the batch. The network is made afresh at t = 0 and is not trained after the
    last t, where nothing would use it. It stays outside the module tree: only S is a parameter here.

    Args:
        synthetic: the map from what is learned to images [C, n, channels, H, W].
        factory: makes a network; called under a seed of its own at each k.
        engine: computes the class gradients.
        classes_per_chunk: as in `ImageGradient`.
        schedule_unit: what the schedule counts, `epochs` over S or mini-batch `steps`.
        priors: each class's share of the training set, [C].
        updates: T. image_steps: zeta_S, image steps at one network (Eq. 10).
        train_batch: mini-batch of the network's epochs on S.
        matched_synthetic: images of S in a batch of any class, where such batches are matched.
        siamese: what real and synthetic images of a class go through before they are matched, and those that
            the network trains on; null: nothing.
        network_images: what the network trains on between updates, as many steps as the schedule's epochs
            over S have; null: S.
        diagnose_every: image updates between measurements of what `diagnostics.py` measures; 0: never.
    """

    def __init__(
        self,
        synthetic: Synthetic,
        *,
        factory: Callable[[], nn.Module],
        engine: GradientEngine,
        classes_per_chunk: int | None = None,
        matching: Matching,
        distance: Distance,
        schedule: Schedule,
        schedule_unit: str,
        class_names: tuple[str, ...],
        priors: list[float],
        updates: int,
        image_steps: int,
        image_lr: float,
        image_momentum: float,
        network_lr: float,
        network_momentum: float,
        train_batch: int,
        matched_synthetic: int,
        diagnose_every: int,
        seed: int,
        siamese: Siamese | None = None,
        network_images: TrainingSet | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.synthetic = synthetic
        self.factory, self.engine, self.schedule = factory, engine, schedule
        self.class_names = class_names
        self._gradient = ImageGradient(
            engine,
            matching,
            distance,
            classes_per_chunk=classes_per_chunk,
            priors=priors,
            timed=self._profiled,
        )
        self.updates, self.image_steps = updates, image_steps
        self.train_batch, self.matched_synthetic, self.seed = train_batch, matched_synthetic, seed
        self.image_lr, self.image_momentum = image_lr, image_momentum
        self.network_lr, self.network_momentum = network_lr, network_momentum
        self.schedule_unit, self.diagnose_every = schedule_unit, diagnose_every
        self.zeta_used: list[list[int]] = [[] for _ in range(updates - 1)]  # by t, in the order of k
        self.siamese, self._network_images = siamese, network_images
        # The last S whose loss and gradients were finite.
        self.last_good = copy.deepcopy(synthetic).requires_grad_(False)
        self._watch = FiniteWatch()
        self.metrics: dict[str, Tensor] = {}  # of the last update
        self._inner: tuple[nn.Module, torch.optim.Optimizer] | None = None

    @property
    def network(self) -> nn.Module | None:
        """The network of the current outer iteration; none before the first."""
        return None if self._inner is None else self._inner[0]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.synthetic.parameters(), lr=self.image_lr, momentum=self.image_momentum)

    def training_step(self, batch: RealBatch, batch_idx: int) -> None:
        """One pass of lines 4-13 of Algorithm 1."""
        if batch.t == 0:
            self._inner = self._fresh_network(batch.k)
        assert self._inner is not None, "an update t > 0 needs the network of the update before"
        network, network_optimizer = self._inner
        if batch.statistics is not None:
            _move_running_statistics(network, batch.statistics)

        metrics = self._update_images(network, batch)
        last = batch.t == self.updates - 1
        with self._profiled("network"):
            zeta = 0 if last else self._train_network(network, network_optimizer, batch)
        # As tensors made on the device: a number would be copied there, and the copy waits for the device.
        metrics["zeta"] = torch.full((), float(zeta), device=self.device)
        self.metrics = metrics
        shown = {name: metrics[name] for name in ("matching_loss/total", "zeta")}
        self.log_dict(shown, batch_size=1, logger=False)

    def _profiled(self, action: str) -> AbstractContextManager:
        # Shown by Lightning's profilers, read by gmlight.benchmark; costs nothing where there is none.
        return self.trainer.profiler.profile(action)  # type: ignore[attr-defined]

    def _fresh_network(self, k: int) -> tuple[nn.Module, torch.optim.Optimizer]:
        with seeded(self.seed, "network", k):
            network = self.factory()
        for tensor in (*network.parameters(), *network.buffers()):
            tensor.data = to_device(tensor.data, self.device)
        optimizer = torch.optim.SGD(network.parameters(), lr=self.network_lr, momentum=self.network_momentum)
        return network, optimizer

    def _update_images(self, network: nn.Module, batch: RealBatch) -> dict[str, Tensor]:
        # Lines 5-9. In eval mode batch norm uses its running statistics as they are: samples never meet.
        network.eval()
        seen = None if self.siamese is None else self.siamese.of_update(self.seed, batch.k, batch.t)
        real = (
            self._gradient.real(network, _seen_through(seen, batch.images))
            if batch.matched is None
            else self._gradient.mixed(network, *_mixed_through(seen, *batch.matched))
        )
        # Lightning counts the steps of its own optimizer: one an update, however many image steps that takes.
        raw_optimizer = self._optimizer().optimizer
        for _ in range(self.image_steps - 1):
            self._step_images(network, batch, real, seen, raw_optimizer)
        due = self.diagnose_every > 0 and (self.global_step + 1) % self.diagnose_every == 0
        return self._step_images(network, batch, real, seen, self._optimizer(), diagnose=due)

    def _step_images(
        self,
        network: nn.Module,
        batch: RealBatch,
        real: RealGradients,
        seen: ByLabel | None,
        optimizer: torch.optim.Optimizer | LightningOptimizer,
        diagnose: bool = False,
    ) -> dict[str, Tensor]:
        # Returns metrics by name.
        images = self.synthetic()
        if seen is not None:
            labels = torch.arange(len(images)).repeat_interleave(images.shape[1])
            images = seen(images.flatten(0, 1), labels).view_as(images)
        outcome = self._match(network, images.detach(), real, batch, diagnose)
        with self._profiled("synthetic gradients"):
            parameters = list(self.synthetic.parameters())
            gradients = torch.autograd.grad(images, parameters, outcome.of_images)
            # On an accelerator the way back to what is learned need not end in the same digits everywhere.
            ranks.broadcast_tensors(gradients)

        loss = torch.stack(list(outcome.terms.values())).sum()
        finite = torch.stack([torch.isfinite(tensor).all() for tensor in (loss, *gradients)]).all()
        for parameter, good, gradient in zip(parameters, self.last_good.parameters(), gradients, strict=True):
            good.copy_(torch.where(finite, parameter.detach(), good))
            parameter.grad = gradient
        optimizer.step()
        # Copied, for where the verdict is read later the images have moved on.
        images, k, t = self.synthetic().detach().clone(), batch.k, batch.t
        self._watch.note(
            finite & torch.isfinite(images).all(),
            lambda: self._blame(k, t, real, outcome.synthetic, (*gradients, images)),
        )
        metrics = {f"matching_loss/{name}": term for name, term in (outcome.terms | {"total": loss}).items()}
        if diagnose:
            with self._profiled("diagnostics"):
                stepped = flatten(images)
                metrics |= outcome.diagnostics | image_statistics(images)
                metrics |= losses(network, stepped.images, stepped.labels, batch)
        return metrics

    def _match(
        self, network: nn.Module, images: Tensor, real: RealGradients, batch: RealBatch, diagnose: bool
    ) -> Outcome:
        # images: [C, ipc, channels, H, W]
        if batch.matched is None:
            return self._gradient(network, images, real, batch.k, diagnose)
        everything = flatten(images)
        rng = generator(self.seed, "matched-synthetic", batch.k, batch.t)
        chosen = torch.randperm(len(everything), generator=rng)[: self.matched_synthetic]
        outcome = self._gradient.of_mixed(network, *everything.batch(chosen), real, batch.k, diagnose)
        of_images = torch.zeros_like(everything.images)
        of_images[to_device(chosen, of_images.device)] = outcome.of_images
        return replace(outcome, of_images=of_images.view_as(images))

    def _optimizer(self) -> LightningOptimizer:
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        return optimizer

    def _train_network(self, network: nn.Module, optimizer: torch.optim.Optimizer, batch: RealBatch) -> int:
        # Lines 10-13: as many epochs, or single steps, on S_{t+1} as the schedule yields.
        images = self.synthetic.labelled()
        rng = generator(self.seed, "network-batches", batch.k, batch.t)
        steps = training_steps(
            Ensemble([network]),
            optimizer,
            images if self._network_images is None else self._network_images,
            batch_size=self.train_batch,
            rngs=[rng],
            augmentation=self.siamese or none,
        )
        steps_at_once = 1 if self.schedule_unit == "steps" else steps_per_epoch(images, self.train_batch)
        zeta = 0
        for _ in self.schedule(batch.t, _Losses(network, batch, images)):
            for _ in range(steps_at_once):
                next(steps)
            zeta += 1
        # On an accelerator the same steps may end in other digits: rank 0's are everybody's.
        ranks.broadcast_tensors(tensor.data for tensor in (*network.parameters(), *network.buffers()))
        self.zeta_used[batch.t].append(zeta)
        return zeta

    def _blame(
        self, k: int, t: int, real: RealGradients, synthetic: Layers, images: tuple[Tensor, ...]
    ) -> str:
        # Of what this rank holds; the images and their gradients are on every rank.
        steps = "lower image_lr or network_lr"
        everything = range(len(self.class_names))
        suspects = (
            (
                "class gradient on real images",
                list(real.layers.values()),
                real.classes,
                steps if t else "look at the data",
            ),
            (
                "class gradient on synthetic images",
                list(synthetic.values()),
                None if real.classes is None else everything,
                steps,
            ),
            ("image or its gradient", list(images), everything, "lower image_lr or distance.weight"),
        )
        for what, by_class, classes, mend in suspects:
            if not by_class:
                continue
            finite = torch.stack([torch.isfinite(each.flatten(1)).all(1) for each in by_class]).all(0)
            if not finite.all():
                name = "any" if classes is None else self.class_names[classes[int(finite.int().argmin())]]
                return f"k={k}, t={t}, class {name!r}: the {what} is not finite; {mend}"
        return f"k={k}, t={t}, every class: the matching loss is not finite; lower distance.weight"

    def on_train_end(self) -> None:
        self._watch.settle()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._watch.settle()  # nothing that is not finite is kept
        checkpoint["zeta_used"] = self.zeta_used
        checkpoint["engine"] = self.engine.state()
        if self._inner is not None and self.global_step % self.updates:
            network, optimizer = self._inner
            checkpoint["inner_loop"] = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.zeta_used = checkpoint["zeta_used"]
        self.engine.load_state(checkpoint["engine"])
        if "inner_loop" in checkpoint:
            network, optimizer = self._inner = self._fresh_network(0)  # all its values are loaded next
            network.load_state_dict(checkpoint["inner_loop"]["network"])
            optimizer.load_state_dict(checkpoint["inner_loop"]["optimizer"])


class _Losses:
    """What a schedule may measure between epochs."""

    def __init__(self, network: nn.Module, batch: RealBatch, synthetic: LabelledImages) -> None:
        self._network, self._batch, self._synthetic = network, batch, synthetic

    def real(self) -> float:
        assert self._batch.mixed is not None, "the schedule measures the real loss: mixed_batch is 0"
        return self._measure(*self._batch.mixed)

    def synthetic(self) -> float:
        return self._measure(self._synthetic.images, self._synthetic.labels)

    @torch.no_grad()
    def _measure(self, images: Tensor, labels: Tensor) -> float:
        self._network.eval()
        return cross_entropy(self._network(images), labels).item()


def _seen_through(
    seen: ByLabel | None, images: Tensor | Sequence[Tensor] | ClassDraw
) -> Tensor | Sequence[Tensor] | ClassDraw:
    # The real images of every class.
    if seen is None:
        return images
    if isinstance(images, ClassDraw):
        return images.transformed(seen)
    return [seen(of_class, torch.full((len(of_class),), c)) for c, of_class in enumerate(images)]


def _mixed_through(seen: ByLabel | None, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return images if seen is None else seen(images, labels.cpu()), labels


@torch.no_grad()
def _move_running_statistics(network: nn.Module, images: Tensor) -> None:
    network.train()
    network(images)
