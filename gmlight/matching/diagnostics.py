"""What can be seen of one image update: norms and angles of the gradients, losses, the images themselves.

The paper argues about these: that the magnitude of gradients carries information beside their angle (section
3.2), and that the network has to see gradients of S that are alive (section 3.3). None of it changes a run.
"""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gmlight.data.images import RealBatch, class_sizes
from gmlight.matching.class_gradients import Layers

REAL_IMAGES = 256  # of all classes together, on which the loss is measured
AT_ONCE = 256  # images in one pass through the network
Metrics = dict[str, Tensor]


class GradientDiagnosis:
    """Norms, angles and losses of class gradients, added up over chunks of classes and over ranks.

    Args:
        active: whether anything is measured; otherwise there are no metrics, and no time is lost.
    """

    def __init__(self, active: bool) -> None:
        self.active = active
        self._sums: Metrics = {}  # over classes
        self._losses: Metrics = {}

    @torch.no_grad()
    def note_classes(self, synthetic: Layers, real: Layers) -> None:
        """Of some classes, or of none: weight name -> [c, *weight.shape]."""
        if not self.active:
            return
        squares = []
        for name, gradient in synthetic.items():
            ours, theirs = gradient.flatten(1), real[name].flatten(1)  # [c, length]
            squares.append((ours.square().sum(1), theirs.square().sum(1), (ours * theirs).sum(1)))
            _add(self._sums, _norms_and_angle(*squares[-1], f"/{layer_name(name)}"))
        together = [torch.stack(each).sum(0) for each in zip(*squares, strict=True)]
        _add(self._sums, _norms_and_angle(together[0], together[1], together[2], "/overall"))

    @torch.no_grad()
    def note_loss(self, loss: Callable[[Layers, Layers], Tensor], synthetic: Layers, real: Layers) -> None:
        """Of a loss that is a sum over layers, and over what it is given of the classes."""
        for name, gradient in synthetic.items() if self.active else ():
            of_layer = loss({name: gradient.detach()}, {name: real[name].detach()})
            _add(self._losses, {f"matching_loss/layer/{layer_name(name)}": of_layer})

    def tensors(self) -> list[Tensor]:
        """All sums, in the same order on every rank."""
        return [*self._sums.values(), *self._losses.values()]

    def metrics(self, classes: int) -> Metrics:
        """matching_loss/layer/<layer>; and means over the classes of gradient_norm/synthetic/<layer>,
        gradient_norm/real/<layer> (L2) and gradient_angle/<layer> (degrees; 90 where a gradient is zero), of
        each layer and, as `overall`, of all together.
        """
        return {name: total / classes for name, total in self._sums.items()} | self._losses


@torch.no_grad()
def losses(network: nn.Module, images: Tensor, labels: Tensor, batch: RealBatch) -> Metrics:
    """Mean cross-entropy in nats, of S and of a few real images of every class.

    Args:
        network: in eval mode. images: S, [N, channels, H, W]. labels: [N].
    """
    return {
        "loss/synthetic": _mean_loss(network, [(images, labels)]),
        "loss/real": _mean_loss(network, _few_real(batch)),
    }


@torch.no_grad()
def image_statistics(images: Tensor) -> Metrics:
    """Of all values of the normalised images."""
    return {
        "images/mean": images.mean(),
        "images/std": images.std(correction=0),
        "images/min": images.min(),
        "images/max": images.max(),
    }


def layer_name(weight: str) -> str:
    """`conv1.weight` -> `conv1`."""
    return weight.removesuffix(".weight")


def _norms_and_angle(ours: Tensor, theirs: Tensor, product: Tensor, what: str) -> Metrics:
    # Sums over classes, of squared norms and inner products [c].
    scale = ours.sqrt() * theirs.sqrt()
    cosine = torch.where(scale > 0, product / scale, 0.0).clamp(-1, 1)
    return {
        f"gradient_norm/synthetic{what}": ours.sqrt().sum(),
        f"gradient_norm/real{what}": theirs.sqrt().sum(),
        f"gradient_angle{what}": torch.rad2deg(torch.arccos(cosine)).sum(),
    }


def _add(sums: Metrics, more: Metrics) -> None:
    for name, value in more.items():
        sums[name] = sums[name] + value if name in sums else value


def _few_real(batch: RealBatch) -> Iterator[tuple[Tensor, Tensor]]:
    drawn = batch.matched or batch.mixed
    if drawn is not None:
        yield drawn[0][:REAL_IMAGES], drawn[1][:REAL_IMAGES]
        return
    classes = len(class_sizes(batch.images))
    of_class = max(1, REAL_IMAGES // classes)
    for c in range(classes):
        images = batch.images[c : c + 1][0][:of_class]
        yield images, torch.full((len(images),), c, device=images.device)


def _mean_loss(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    losses, count = [], 0
    for images, labels in batches:
        for some, their in zip(images.split(AT_ONCE), labels.split(AT_ONCE), strict=True):
            losses.append(cross_entropy(network(some), their, reduction="sum"))
            count += len(some)
    return torch.stack(losses).sum() / count
