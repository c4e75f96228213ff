"""Diagnostics of one image update: norms and angles of the gradients, losses, statistics of the images.

The paper's arguments rest on these quantities: the magnitude of gradients carries information besides their
angle (section 3.2), and gradients on the synthetic set vanish once the network overfits it (section 3.3).
Measuring them does not change the results of a run.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from gmlight.data.images import RealBatch, class_sizes
from gmlight.matching.class_gradients import Layers
from gmlight.matching.losses import in_batches, summed_loss

REAL_IMAGES = 256  # real images of all classes together on which the loss is measured
Metrics = dict[str, Tensor]


class GradientDiagnosis:
    """Norms, angles and losses of class gradients, summed over chunks of classes and over ranks.

    Args:
        active: whether to measure; if not, there are no metrics and no cost.
    """

    def __init__(self, active: bool) -> None:
        self.active = active
        self._sums: Metrics = {}  # over classes
        self._losses: Metrics = {}

    @torch.no_grad()
    def note_classes(self, synthetic: Layers, real: Layers) -> None:
        """Adds norms and angles of c classes; c may be 0.

        Args:
            synthetic: weight name -> [c, *weight.shape].
            real: weight name -> [c, *weight.shape].
        """
        if not self.active:
            return
        products = []
        for name, gradient in synthetic.items():
            a, b = gradient.flatten(1), real[name].flatten(1)  # [c, length]
            products.append((a.square().sum(1), b.square().sum(1), (a * b).sum(1)))
            _add(self._sums, _norms_and_angle(*products[-1], f"/{layer_name(name)}"))
        summed = [torch.stack(layers).sum(0) for layers in zip(*products, strict=True)]
        _add(self._sums, _norms_and_angle(summed[0], summed[1], summed[2], "/overall"))

    @torch.no_grad()
    def note_loss(self, loss: Callable[[Layers, Layers], Tensor], synthetic: Layers, real: Layers) -> None:
        """Adds each layer's part of the matching loss.

        Args:
            loss: sums over the layers and classes that it gets.
            synthetic: gradients by weight name.
            real: gradients by weight name.
        """
        for name, gradient in synthetic.items() if self.active else ():
            layer_loss = loss({name: gradient.detach()}, {name: real[name].detach()})
            _add(self._losses, {f"matching_loss/layer/{layer_name(name)}": layer_loss})

    def tensors(self) -> list[Tensor]:
        """Returns all sums, in the same order on every rank."""
        return [*self._sums.values(), *self._losses.values()]

    def metrics(self, classes: int) -> Metrics:
        """Returns the metrics of each layer and, as `overall`, of all layers together.

        Args:
            classes: C.

        Returns:
            matching_loss/layer/<layer>; and the means over the classes of gradient_norm/synthetic/<layer>,
            gradient_norm/real/<layer> (L2) and gradient_angle/<layer> (degrees; 90 if a gradient is zero).
        """
        return {name: total / classes for name, total in self._sums.items()} | self._losses


def losses(network: nn.Module, images: Tensor, labels: Tensor, batch: RealBatch) -> Metrics:
    """Measures the mean cross-entropy on the synthetic set and on a few real images of every class.

    Args:
        network: in eval mode.
        images: of the synthetic set, [N, channels, H, W].
        labels: [N].
        batch: the real images of the update.

    Returns:
        loss/synthetic and loss/real in nats, [] each.
    """
    batches = {"loss/synthetic": in_batches(images, labels), "loss/real": _few_real(batch)}
    metrics = {}
    for name, pairs in batches.items():
        total, count = summed_loss(network, pairs)
        metrics[name] = total / count
    return metrics


@torch.no_grad()
def image_statistics(images: Tensor) -> Metrics:
    """Computes mean, standard deviation and range of all values of normalised images of any shape."""
    return {
        "images/mean": images.mean(),
        "images/std": images.std(correction=0),
        "images/min": images.min(),
        "images/max": images.max(),
    }


def layer_name(weight: str) -> str:
    """Returns the name of a weight's layer: `conv1.weight` -> `conv1`."""
    return weight.removesuffix(".weight")


def _norms_and_angle(synthetic: Tensor, real: Tensor, product: Tensor, suffix: str) -> Metrics:
    # Sums over classes, from squared norms and inner products [c].
    scale = synthetic.sqrt() * real.sqrt()
    cosine = torch.where(scale > 0, product / scale, 0.0).clamp(-1, 1)
    return {
        f"gradient_norm/synthetic{suffix}": synthetic.sqrt().sum(),
        f"gradient_norm/real{suffix}": real.sqrt().sum(),
        f"gradient_angle{suffix}": torch.rad2deg(torch.arccos(cosine)).sum(),
    }


def _add(sums: Metrics, more: Metrics) -> None:
    for name, value in more.items():
        sums[name] = sums[name] + value if name in sums else value


def _few_real(batch: RealBatch) -> Iterator[tuple[Tensor, Tensor]]:
    drawn = batch.matched or batch.mixed
    if drawn is not None:
        yield from in_batches(drawn[0][:REAL_IMAGES], drawn[1][:REAL_IMAGES])
        return
    classes = len(class_sizes(batch.images))
    per_class = max(1, REAL_IMAGES // classes)
    for c in range(classes):
        images = batch.images[c : c + 1][0][:per_class]
        yield from in_batches(images, torch.full((len(images),), c, device=images.device))
