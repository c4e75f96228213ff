"""How class gradients are computed on a device: sizes of blocks and microbatches, precision, compilation.

A CPU's caches want few images at once, an accelerator as many as its memory takes.
"""

import copy
import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from gmlight.errors import ConfigError
from gmlight.matching import flops
from gmlight.matching.class_gradients import (
    BlockGradients,
    Layers,
    block_gradients,
    class_gradients,
    matched_weights,
)
from gmlight.runtime.compile import Compilation, Compiled
from gmlight.runtime.sizing import BACKWARD_FACTOR, activation_bytes, fitting_batch_size, graph_memory

GRADIENT_COPIES = 8  # of a class gradient, that the distance and its derivative keep


class GradientEngine:
    """Class gradients with the settings that suit a device.

    Args:
        microbatch, classes_per_block: as in `class_gradients`; null: `automatic_sizes`, resolved once.
        precision: of the gradients on real images: `float32` (as the network is), `tf32` or `bfloat16`, both
            inexact. compilation: whether those gradients are compiled.
        real_images: how many of them the run will see, in all.
    """

    def __init__(
        self,
        *,
        microbatch: int | None,
        classes_per_block: int | None,
        precision: str,
        compilation: Compilation,
        real_images: int,
    ) -> None:
        self._microbatch, self._classes_per_block = microbatch, classes_per_block
        self._precision, self._compilation, self._real_images = precision, compilation, real_images
        self._compiled: Compiled | None = None
        # (device, differentiable, C, images of the largest class, channels, H, W) -> microbatch, classes per
        # block; and whether to compile. As they were resolved; a run that is resumed goes on with them.
        self._automatic: dict[tuple[str | int, ...], tuple[int, int]] = {}
        self._compile: bool | None = None
        self._classes_at_once: int | None = None

    def real(
        self,
        network: nn.Module,
        images: Tensor | Sequence[Tensor],
        labels: Sequence[Tensor] | None = None,
        first: int = 0,
    ) -> Layers:
        """The gradients on real images, without a graph; labels and first as in `class_gradients`."""
        microbatch, classes_per_block = self._sizes(network, images, differentiable=False)
        with _tf32() if self._precision == "tf32" else nullcontext():
            return class_gradients(
                network,
                images,
                labels=labels,
                first=first,
                microbatch=microbatch,
                classes_per_block=classes_per_block,
                of_block=self._real_blocks(network, images[0][0], microbatch),
            )

    def synthetic(
        self,
        network: nn.Module,
        images: Tensor,
        labels: Sequence[Tensor] | None = None,
        first: int = 0,
        differentiable: bool = True,
    ) -> Layers:
        """The gradients on synthetic images, which can be differentiated with respect to these."""
        microbatch, classes_per_block = self._sizes(network, images, differentiable=True)
        return class_gradients(
            network,
            images,
            create_graph=differentiable,
            labels=labels,
            first=first,
            microbatch=microbatch,
            classes_per_block=classes_per_block,
        )

    def classes_at_once(self, network: nn.Module, images: Tensor) -> int:
        """Of how many classes' synthetic images [C, n, channels, H, W] the graph is held; resolved once."""
        if self._classes_at_once is None:
            weights = [network.get_parameter(name) for name in matched_weights(network)]
            of_gradient = GRADIENT_COPIES * sum(weight.nbytes for weight in weights)
            of_class = (
                of_gradient + BACKWARD_FACTOR * activation_bytes(network, images[0][:1]) * images.shape[1]
            )
            self._classes_at_once = max(1, min(len(images), graph_memory(images.device) // of_class))
        return self._classes_at_once

    @property
    def microbatch(self) -> int:
        """Real images of a class at once, as far as they were resolved."""
        resolved = [
            sizes[0] for (_, differentiable, *_), sizes in self._automatic.items() if not differentiable
        ]
        return self._microbatch or max(resolved, default=1)

    def state(self) -> dict[str, Any]:
        """What was resolved on the way, for a checkpoint."""
        return {
            "automatic": self._automatic,
            "compile": self._compile,
            "classes_at_once": self._classes_at_once,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Goes on with what a run has resolved; sizes that are given win over it."""
        self._automatic, self._compile = state["automatic"], state["compile"]
        self._classes_at_once = state["classes_at_once"]

    def describe(self) -> list[dict[str, str | int | bool]]:
        """The settings that are in use, as plain containers."""
        return [
            {
                "gradients": "synthetic" if differentiable else "real",
                "device": device,
                "images_per_class": images,
                "microbatch": min(self._microbatch or microbatch, int(images)),
                "classes_per_block": self._classes_per_block or classes_per_block,
                "precision": "float32" if differentiable else self._precision,
                "compiled": not differentiable and self._compiled is not None and self._compiled.active,
            }
            for (device, differentiable, _, images, *_), (
                microbatch,
                classes_per_block,
            ) in self._automatic.items()
        ]

    def _real_blocks(self, network: nn.Module, image: Tensor, microbatch: int) -> BlockGradients:
        precision = torch.bfloat16 if self._precision == "bfloat16" else None
        as_it_is = functools.partial(block_gradients, network, precision=precision)
        if not self._pays(network, image):
            return as_it_is
        if self._compiled is None:
            # Once for all networks: their values come as inputs, and this copy stays in eval mode.
            function = functools.partial(block_gradients, copy.deepcopy(network), precision=precision)
            self._compiled = Compiled(function, "the gradient on real images", self._compilation.notify)
        compiled = self._compiled

        def of_block(weights: Layers, others: Layers, images: Tensor, labels: Tensor) -> Layers:
            # The remainder of a class, or a class with few images, is not worth a compilation.
            whole = images.shape[1] == microbatch
            return (compiled if whole else as_it_is)(weights, others, images, labels)

        return of_block

    def _pays(self, network: nn.Module, image: Tensor) -> bool:
        if self._compile is None:
            self._compile = self._compilation.should_compile(
                lambda: self._real_images * flops.count(network, image.shape).real, image.device
            )
        return self._compile

    def _sizes(
        self, network: nn.Module, images: Tensor | Sequence[Tensor], differentiable: bool
    ) -> tuple[int, int]:
        largest = max(images, key=len)
        key = (largest.device.type, differentiable, len(images), *largest.shape)
        if key not in self._automatic:
            microbatch, classes = automatic_sizes(network, largest, len(images), differentiable)
            wanted = self._classes_per_block or classes
            if differentiable and wanted > 1 and not vmap_is_right(network, largest[:1]):
                if self._classes_per_block is not None:
                    raise ConfigError(
                        f"speed.classes_per_block={wanted}: torch.func.vmap differentiates this "
                        "architecture wrongly; use speed.classes_per_block=1 or auto"
                    )
                classes = 1
            self._automatic[key] = microbatch, classes
        microbatch, classes = self._automatic[key]
        return self._microbatch or microbatch, self._classes_per_block or classes


def automatic_sizes(
    network: nn.Module, images: Tensor, classes: int, differentiable: bool
) -> tuple[int, int]:
    """Microbatch and classes per block that suit the device of a class's images [n, channels, H, W].

    As many images at once as a CPU's caches or an accelerator's memory hold. On a CPU several classes at
    once pay only for gradients that are differentiated again, which keep twice as much: the others do without
    torch.func there.
    """
    at_once = fitting_batch_size(network, images[:1])
    in_block = at_once
    if images.device.type == "cpu":
        in_block = at_once // 2 if differentiable else 1
    return min(at_once, len(images)), min(max(1, in_block // len(images)), classes)


def vmap_is_right(network: nn.Module, image: Tensor) -> bool:
    """Whether class gradients of two classes at once have the same derivative as one after the other.

    torch's batching rules do not differentiate every layer rightly a second time (layer norm: torch 2.15).
    """
    twin = copy.deepcopy(network).double()
    images = torch.stack([image, image.flip(-1)]).double().requires_grad_()

    def derivative(classes_per_block: int) -> Tensor:
        layers = class_gradients(twin, images, create_graph=True, classes_per_block=classes_per_block)
        return torch.autograd.grad(torch.stack([g.square().sum() for g in layers.values()]).sum(), images)[0]

    expected = derivative(1)
    return bool((derivative(2) - expected).norm() <= 1e-6 * expected.norm())


@contextmanager
def _tf32() -> Iterator[None]:
    # Convolutions and matrix products in TF32; everywhere else gmlight has it off.
    flags = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = flags
