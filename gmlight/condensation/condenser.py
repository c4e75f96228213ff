"""The LightningModule of condensation: it calls the parts of Algorithm 1 in order."""

import copy
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import lightning
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from gmlight.condensation.finiteness import FiniteWatch, describe_failure
from gmlight.condensation.image_updates import ImageUpdates
from gmlight.condensation.inner_loop import InnerLoop, MakeOptimizer
from gmlight.condensation.synthetic import Synthetic, flatten
from gmlight.data.dsa import Siamese
from gmlight.data.images import ClassDraw, LabelTransform, RealBatch
from gmlight.matching.diagnostics import image_statistics, losses
from gmlight.matching.image_gradient import GradientMatcher
from gmlight.matching.joint import MatchingResult
from gmlight.matching.real_gradients import RealGradients
from gmlight.runtime.distributed import ranks
from gmlight.runtime.processes import signals_at_once
from gmlight.runtime.seeding import generator, to_device

IMAGE_SGD = functools.partial(torch.optim.SGD, lr=0.1, momentum=0.5)  # the paper's
PAPER_UPDATES = ImageUpdates()


class Condenser(lightning.LightningModule):
    """Learns the synthetic set by gradient matching; one `training_step` is one image update.

    The batch holds the outer iteration k and the update t. A new network is made at t = 0. It is not trained
    after the last t, because no update would use it. It is not a submodule, so only the synthetic set has
    parameters here.

    Args:
        synthetic: the synthetic set; its parameters are learned and decoded to images [C, n, channels, H, W].
        matcher: computes the gradient of the images.
        inner_loop: the network and its training between updates.
        updates: T, image updates in an outer iteration.
        image_optimizer: makes the optimizer of the synthetic set; by default the paper's.
        image_updates: how the images are updated; by default as in the paper.
        dsa: applies one transform to the real and the synthetic images of a class before matching; None: no
            transform. The augmentation of the network's training belongs to the inner loop.
        diagnose_every: image updates between measurements of gradients, losses and images; 0: never.
        seed: of every random draw.

    Attributes:
        zeta_used: epochs or steps of the inner loop, a list for each t but the last, in the order of k.
        last_good: the last synthetic set whose loss and gradients were finite.
        metrics: metrics of the last update by name, [] each.
    """

    def __init__(
        self,
        synthetic: Synthetic,
        matcher: GradientMatcher,
        inner_loop: InnerLoop,
        *,
        updates: int,
        image_optimizer: MakeOptimizer = IMAGE_SGD,
        image_updates: ImageUpdates = PAPER_UPDATES,
        dsa: Siamese | None = None,
        diagnose_every: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.synthetic, self.matcher, self.inner_loop = synthetic, matcher, inner_loop
        self.updates, self.image_updates, self.seed = updates, image_updates, seed
        self.dsa, self.diagnose_every = dsa, diagnose_every
        self._make_optimizer = image_optimizer
        self.zeta_used: list[list[int]] = [[] for _ in range(updates - 1)]
        self.last_good = copy.deepcopy(synthetic).requires_grad_(False)
        self.metrics: dict[str, Tensor] = {}
        self._watch = FiniteWatch()

    @property
    def network(self) -> nn.Module | None:
        """The network of the current outer iteration; None before the first."""
        return self.inner_loop.network

    def configure_optimizers(self) -> torch.optim.Optimizer:
        optimizer = self._make_optimizer(self.synthetic.parameters())
        self._image_lrs = [group["lr"] for group in optimizer.param_groups]
        return optimizer

    def on_fit_start(self) -> None:
        # Used by Lightning's profilers and gmlight.benchmark; costs nothing without a profiler.
        self._timed = self.matcher.timed = self.trainer.profiler.profile  # type: ignore[attr-defined]
        clip = self.image_updates.clip  # copied once, because copying to a device waits for it
        self._limits = None if clip is None else (clip[0].to(self.device), clip[1].to(self.device))
        if self.inner_loop.pool is not None:
            with signals_at_once():
                self.inner_loop.pool.prepare(self.seed, self.device)

    def training_step(self, batch: RealBatch, batch_idx: int) -> None:
        """Runs lines 4-13 of Algorithm 1 for one t."""
        if batch.t == 0:
            self.inner_loop.start(self.seed, batch.k, self.device)
        assert self.network is not None, "an update t > 0 needs the network of the update before"
        if batch.statistics is not None:
            self.inner_loop.update_running_statistics(batch.statistics)

        if batch.undecided is not None:
            batch.images = batch.undecided.decide(self.network.eval(), batch.t)
        metrics = self._update_images(self.network, batch)
        zeta = 0
        with self._timed("network"):
            if batch.t < self.updates - 1:
                zeta = self.inner_loop.train(self.synthetic.labelled(), batch, self.seed)
                self.zeta_used[batch.t].append(zeta)
        # Filled on the device, because copying a number there waits for the device.
        metrics["zeta"] = torch.full((), float(zeta), device=self.device)
        self.metrics = metrics
        shown = {name: metrics[name] for name in ("matching_loss/total", "zeta")}
        self.log_dict(shown, batch_size=1, logger=False)

    def _update_images(self, network: nn.Module, batch: RealBatch) -> dict[str, Tensor]:
        # Lines 5-9. In eval mode batch norm keeps its running statistics, so that samples are independent.
        network.eval()
        transform = None if self.dsa is None else self.dsa.update_transform(self.seed, batch.k, batch.t)
        if batch.matched is None:
            real = self.matcher.real_gradients(network, _transformed(batch.images, transform))
        else:
            images, labels = batch.matched
            images = images if transform is None else transform(images, labels.cpu())
            real = self.matcher.mixed_real_gradient(network, images, labels)
        # Lightning counts the steps of its wrapped optimizer: one per update for any number of image steps.
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        self._set_rate(optimizer.optimizer, batch.k)
        step = functools.partial(self._step_images, network, batch, real, transform)
        due = self.diagnose_every > 0 and (self.global_step + 1) % self.diagnose_every == 0
        *before, (chosen, last) = (
            (chosen, target)
            for chosen in self._draw_synthetic(batch)
            for target in self.image_updates.targets(len(self.matcher.info.classes))
        )
        done = [step(drawn, optimizer.optimizer, target, diagnose=False) for drawn, target in before]
        metrics = step(chosen, optimizer, last, diagnose=due)
        return metrics if last is None else metrics | _summed([*done[-last:], metrics] if last else [metrics])

    def _draw_synthetic(self, batch: RealBatch) -> Iterator[Tensor | None]:
        # Positions of the images that are matched, [C, n] on the device; None: all.
        if batch.matched is not None or not (self.image_updates.at_once or self.image_updates.prefixes):
            yield None
            return
        for chosen in self.image_updates.draws(*self._counts, self.seed, batch.k, batch.t):
            yield None if chosen is None else to_device(chosen, self.device)

    @functools.cached_property
    def _counts(self) -> tuple[int, int]:
        # Classes, and decoded images of a class; kept, because decoding takes time.
        with torch.no_grad():
            classes, images = self.synthetic().shape[:2]
        return classes, images

    def _set_rate(self, optimizer: torch.optim.Optimizer, k: int) -> None:
        if self.image_updates.rate is not None:
            for group, lr in zip(optimizer.param_groups, self._image_lrs, strict=True):
                group["lr"] = lr * self.image_updates.rate(k)

    def _step_images(
        self,
        network: nn.Module,
        batch: RealBatch,
        real: RealGradients,
        transform: LabelTransform | None,
        chosen: Tensor | None,
        optimizer: torch.optim.Optimizer | LightningOptimizer,
        target: int | None,
        *,
        diagnose: bool,
    ) -> dict[str, Tensor]:
        # One step of the images of a class, or of all (None). Returns metrics by name.
        images = self.synthetic()
        if chosen is not None:
            images = images[torch.arange(len(images), device=images.device).unsqueeze(1), chosen]
        if transform is not None:
            labels = torch.arange(len(images)).repeat_interleave(images.shape[1])
            images = transform(images.flatten(0, 1), labels).view_as(images)
        result = self._match(network, images.detach(), real, batch, target, diagnose)
        parameters = list(self.synthetic.parameters())
        with self._timed("synthetic gradients"):
            gradients = torch.autograd.grad(images, parameters, result.image_gradient)
            # On an accelerator the gradients of the parameters may differ between ranks in the last digits.
            ranks.broadcast_tensors(gradients)

        loss = torch.stack(list(result.terms.values())).sum()
        finite = torch.stack([torch.isfinite(tensor).all() for tensor in (loss, *gradients)]).all()
        for parameter, good, gradient in zip(parameters, self.last_good.parameters(), gradients, strict=True):
            good.copy_(torch.where(finite, parameter.detach(), good))
            parameter.grad = gradient
        optimizer.step()
        if self._limits is not None:
            self.synthetic.clip(*self._limits)
        # A copy, because on an accelerator the watch reads it after the next update.
        images = self.synthetic().detach().clone()
        describe = functools.partial(
            describe_failure, self.matcher.info.classes, real, result.synthetic, (*gradients, images)
        )
        self._watch.note(finite & torch.isfinite(images).all(), functools.partial(describe, batch.k, batch.t))
        metrics = {f"matching_loss/{name}": term for name, term in (result.terms | {"total": loss}).items()}
        if diagnose:
            with self._timed("diagnostics"):
                labelled = flatten(images)
                metrics |= result.diagnostics | image_statistics(images)
                metrics |= losses(network, labelled.images, labelled.labels, batch)
        return metrics

    def _match(
        self,
        network: nn.Module,
        images: Tensor,
        real: RealGradients,
        batch: RealBatch,
        target: int | None,
        diagnose: bool,
    ) -> MatchingResult:
        # images: [C, n, channels, H, W]
        if batch.matched is None:
            if target is None:
                return self.matcher.match(network, images, real, batch.k, diagnose)
            return self.matcher.match_class(network, images, real, batch.k, target, diagnose)
        rng = generator(self.seed, "matched-synthetic", batch.k, batch.t)
        result = self.matcher.match_mixed(network, images, real, batch.k, rng, diagnose)
        return result if target is None else result.of_class(target)

    def on_train_end(self) -> None:
        self._watch.settle()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._watch.settle()  # a checkpoint holds finite numbers only
        checkpoint["zeta_used"] = self.zeta_used
        checkpoint["engine"] = self.matcher.engine.state()
        if self.network is not None and self.global_step % self.updates:
            checkpoint["inner_loop"] = self.inner_loop.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.zeta_used = checkpoint["zeta_used"]
        self.matcher.engine.load_state(checkpoint["engine"])
        if "inner_loop" in checkpoint:
            self.inner_loop.load_state_dict(checkpoint["inner_loop"], self.device)


def _summed(steps: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    # The matching loss of the classes' steps together.
    terms = [name for name in steps[-1] if name.count("/") == 1 and name.startswith("matching_loss/")]
    return {name: torch.stack([metrics[name] for metrics in steps]).sum() for name in terms}


def _transformed(
    images: Tensor | Sequence[Tensor] | ClassDraw, transform: LabelTransform | None
) -> Tensor | Sequence[Tensor] | ClassDraw:
    # images: real images of every class.
    if transform is None:
        return images
    if isinstance(images, ClassDraw):
        return images.transformed(transform)
    return [transform(batch, torch.full((len(batch),), c)) for c, batch in enumerate(images)]
