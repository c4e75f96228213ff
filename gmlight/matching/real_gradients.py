"""Class gradients on real images, divided among ranks."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gmlight.data.images import ClassDraw, class_sizes
from gmlight.errors import ConfigError
from gmlight.matching.class_gradients import Layers, join_in_place, matched_weights
from gmlight.matching.engine import GradientEngine
from gmlight.runtime.distributed import ranks
from gmlight.runtime.memory import explain_out_of_memory
from gmlight.runtime.sizing import total_memory

REAL_BYTES = 2**30  # bytes of real images that are loaded at once


@dataclass(frozen=True)
class RealGradients:
    """The gradients on real images of the classes that this rank matches.

    Args:
        layers: weight name -> [classes of this rank, *weight.shape].
        sizes: images behind each class's gradient, [C]: of all classes, not only of this rank's.
        classes: labels of this rank's classes; None: a single gradient on a mixed batch.
    """

    layers: Layers
    sizes: list[int]
    classes: range | None = None


def real_gradients(
    engine: GradientEngine,
    network: nn.Module,
    images: "Tensor | Sequence[Tensor] | ClassDraw",
    classes_per_chunk: int | None,
) -> RealGradients:
    """Computes the gradients on real images of this rank's share of the classes.

    Args:
        engine: computes class gradients.
        network: in eval mode.
        images: real images of all classes, [C, B, channels, H, W] or C tensors [B_c, channels, H, W].
        classes_per_chunk: classes whose images are loaded at once; None: as many as fit REAL_BYTES.
    """
    sizes = class_sizes(images)
    share = ranks.share(len(sizes))
    with _suggest_smaller_microbatch(engine):
        if ranks.size > len(sizes):
            (c,) = share.units
            batch = images[c : c + 1][0]
            labels = torch.full((len(batch),), c, device=batch.device)
            layers = _partial_gradient(engine, network, batch, labels, share.slice(sizes[c]))
            ranks.sum_parts(layers.values(), len(sizes))
            return RealGradients(layers, sizes, share.units)
        size = len(share.units)  # images in memory are one chunk
        if isinstance(images, ClassDraw):
            size = classes_per_chunk or max(1, REAL_BYTES // images.class_bytes)
        chunks = split(share.units, size)
        gradients = (
            engine.real(network, images[chunk.start : chunk.stop], first_class=chunk.start)
            for chunk in chunks
        )
        layers = next(gradients) if len(chunks) == 1 else join_in_place(gradients, len(share.units))
    return RealGradients(layers, sizes, share.units)


def check_memory(network: nn.Module, classes: int, device: torch.device, layers: str | float = "all") -> None:
    """Checks that the gradients of all classes fit the memory; else the system might kill the run.

    Args:
        network: that is matched; on any device.
        classes: number of classes whose gradients are held at once.
        device: that holds them.
        layers: that are matched, as in `matched_weights`.

    Raises:
        ConfigError: they do not fit.
    """
    weights = [network.get_parameter(name) for name in matched_weights(network, layers)]
    needed, memory = classes * sum(weight.nbytes for weight in weights), total_memory(device)
    if needed > memory:
        raise ConfigError(
            f"the gradients of {classes} classes need {needed / 2**30:.1f} GiB, the {device.type} has "
            f"{memory / 2**30:.1f}; use a smaller architecture.width, fewer classes, or trainer=ddp on GPUs"
        )


def mixed_real_gradient(
    engine: GradientEngine, network: nn.Module, images: Tensor, labels: Tensor
) -> RealGradients:
    """Computes the single gradient on a batch of real images of any class, divided among all ranks.

    Args:
        engine: computes class gradients.
        network: in eval mode.
        images: [n, channels, H, W].
        labels: [n].
    """
    with _suggest_smaller_microbatch(engine):
        layers = _partial_gradient(engine, network, images, labels, ranks.share(1).slice(len(labels)))
        ranks.sum_parts(layers.values(), 1)
    return RealGradients(layers, [len(labels)])


def split(classes: range, size: int) -> list[range]:
    """Splits classes into chunks of `size`; the last chunk may be smaller."""
    return [classes[i : i + size] for i in range(0, len(classes), size)]


def _partial_gradient(
    engine: GradientEngine, network: nn.Module, images: Tensor, labels: Tensor, part: slice
) -> Layers:
    # Contribution of the images of this part to the mean gradient on all images.
    count = len(images[part])
    if count == 0:
        weights = ((name, network.get_parameter(name)) for name in engine.weights(network))
        return {name: torch.zeros_like(weight).unsqueeze(0) for name, weight in weights}
    layers = engine.real(network, images[part].unsqueeze(0), [labels[part]])
    if count == len(images):
        return layers
    return {name: layer * (count / len(images)) for name, layer in layers.items()}


def _suggest_smaller_microbatch(engine: GradientEngine) -> AbstractContextManager:
    return explain_out_of_memory(
        "the gradients on real images", "speed.microbatch", lambda: engine.microbatch
    )
