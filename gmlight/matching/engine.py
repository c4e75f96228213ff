"""Computation of class gradients on a device: sizes of blocks and microbatches, precision, compilation.

A CPU is fastest with a few images at once, which fit its caches. An accelerator is fastest with many.
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
    Blocks,
    Layers,
    block_gradients,
    class_gradients,
    matched_weights,
)
from gmlight.runtime.autocast import autocast_type
from gmlight.runtime.compile import TOLERANCE, Compilation, Compiled
from gmlight.runtime.sizing import BACKWARD_FACTOR, activation_bytes, fitting_batch_size, graph_memory

REAL_IMAGES_AT_ONCE = 256  # by vmap on an accelerator: of more, one class at a time is as fast (H100)
INEXACT_TOLERANCE = 0.2  # between compiled and uncompiled: bfloat16 alone errs by up to 0.05
GRADIENT_COPIES = 8  # copies of a class gradient that the distance and its derivative keep


class GradientEngine:
    """Computes class gradients with the settings that suit a device.

    Args:
        microbatch: images of a class at once; None: by `automatic_sizes`, resolved once.
        classes_per_block: classes at once; None: by `automatic_sizes`, resolved once.
        precision: of the gradients on real images: `float32` (that of the network), or the less exact `tf32`
            and `bfloat16`.
        compilation: decides whether the gradients on real images are compiled; None: they are not.
        real_images: total number of real images of the run, by which `compilation` decides.
        layers: whose gradients are computed, as in `matched_weights`.
    """

    def __init__(
        self,
        *,
        microbatch: int | None = None,
        classes_per_block: int | None = None,
        precision: str = "float32",
        compilation: Compilation | None = None,
        real_images: int = 1,
        layers: str | float = "all",
    ) -> None:
        self._layers = layers
        self._microbatch, self._classes_per_block = microbatch, classes_per_block
        self._precision, self._real_images = precision, real_images
        self._compilation = compilation or Compilation(False, print)
        self._compiled: Compiled | None = None
        # Resolved settings, kept on resume: (device, differentiable, C, images of the largest
        # class, channels, H, W) -> microbatch, classes per block; and whether to compile.
        self._automatic: dict[tuple[str | int, ...], tuple[int, int]] = {}
        self._compile: bool | None = None
        self._classes_at_once: int | None = None

    def real(
        self,
        network: nn.Module,
        images: Tensor | Sequence[Tensor],
        labels: Sequence[Tensor] | None = None,
        first_class: int = 0,
    ) -> Layers:
        """Computes the gradients on real images, without a graph; arguments as in `class_gradients`."""
        microbatch, classes_per_block = self._sizes(network, images, differentiable=False)
        compute = self._real_blocks(network, images[0][0], microbatch)
        blocks = Blocks(microbatch, classes_per_block, compute)
        with _tf32() if self._precision == "tf32" else nullcontext():
            return class_gradients(
                network,
                images,
                labels,
                first_class=first_class,
                weights=self.weights(network),
                blocks=blocks,
            )

    def synthetic(
        self,
        network: nn.Module,
        images: Tensor,
        labels: Sequence[Tensor] | None = None,
        first_class: int = 0,
        differentiable: bool = True,
    ) -> Layers:
        """Computes the gradients on synthetic images.

        Args:
            network: as in `class_gradients`.
            images: [C, n, channels, H, W].
            labels: as in `class_gradients`.
            first_class: as in `class_gradients`.
            differentiable: whether the gradients can be differentiated with respect to the images.

        Returns:
            weight name -> [C, *weight.shape].
        """
        blocks = Blocks(*self._sizes(network, images, differentiable=True))
        return class_gradients(
            network,
            images,
            labels,
            first_class=first_class,
            create_graph=differentiable,
            weights=self.weights(network),
            blocks=blocks,
        )

    def weights(self, network: nn.Module) -> list[str]:
        """Returns the names of the parameters whose gradients are computed."""
        return matched_weights(network, self._layers)

    def classes_at_once(self, network: nn.Module, images: Tensor) -> int:
        """Returns the number of classes whose graphs fit the memory; resolved once.

        Args:
            network: as in `class_gradients`.
            images: synthetic, [C, n, channels, H, W].
        """
        if self._classes_at_once is None:
            weights = [network.get_parameter(name) for name in self.weights(network)]
            gradient_bytes = GRADIENT_COPIES * sum(weight.nbytes for weight in weights)
            graph_bytes = BACKWARD_FACTOR * activation_bytes(network, images[0][:1]) * images.shape[1]
            fitting = graph_memory(images.device) // (gradient_bytes + graph_bytes)
            self._classes_at_once = max(1, min(len(images), fitting))
        return self._classes_at_once

    @property
    def microbatch(self) -> int:
        """Real images of a class in one microbatch; 1 before the size is resolved."""
        resolved = [
            sizes[0] for (_, differentiable, *_), sizes in self._automatic.items() if not differentiable
        ]
        return self._microbatch or max(resolved, default=1)

    def state(self) -> dict[str, Any]:
        """Returns the settings that are resolved so far, for a checkpoint."""
        return {
            "automatic": self._automatic,
            "compile": self._compile,
            "classes_at_once": self._classes_at_once,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restores resolved settings; sizes given to the constructor take precedence."""
        self._automatic, self._compile = state["automatic"], state["compile"]
        self._classes_at_once = state["classes_at_once"]

    def describe(self) -> list[dict[str, str | int | bool]]:
        """Returns the settings in use, as plain containers."""
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
        precision = autocast_type(self._precision)
        eager = functools.partial(block_gradients, network, precision=precision)
        if not self._should_compile(network, image):
            return eager
        if self._compiled is None:
            # Compiled once for all networks: their values are inputs, and this copy stays in eval mode.
            function = functools.partial(block_gradients, copy.deepcopy(network), precision=precision)
            tolerance = TOLERANCE if self._precision == "float32" else INEXACT_TOLERANCE
            name = "the gradient on real images"
            self._compiled = Compiled(function, name, self._compilation.notify, tolerance)
        compiled = self._compiled

        def compute(weights: Layers, others: Layers, images: Tensor, labels: Tensor) -> Layers:
            # The remainder of a class, or a class with few images, is not worth a compilation.
            full = images.shape[1] == microbatch
            return (compiled if full else eager)(weights, others, images, labels)

        return compute

    def _should_compile(self, network: nn.Module, image: Tensor) -> bool:
        if self._compile is None:
            self._compile = self._compilation.should_compile(
                lambda: self._real_images * flops.count(network, image.shape, self._layers).real, image.device
            )
        return self._compile

    def _sizes(
        self, network: nn.Module, images: Tensor | Sequence[Tensor], differentiable: bool
    ) -> tuple[int, int]:
        largest = max(images, key=len)
        key = (largest.device.type, differentiable, len(images), *largest.shape)
        if key not in self._automatic:
            microbatch, classes = automatic_sizes(network, largest, len(images), differentiable)
            in_block = self._classes_per_block or classes
            if differentiable and in_block > 1 and not vmap_is_right(network, largest[:1]):
                if self._classes_per_block is not None:
                    raise ConfigError(
                        f"speed.classes_per_block={in_block}: torch.func.vmap differentiates this "
                        "architecture wrongly; use speed.classes_per_block=1 or auto"
                    )
                classes = 1
            self._automatic[key] = microbatch, classes
        microbatch, classes = self._automatic[key]
        return self._microbatch or microbatch, self._classes_per_block or classes


def automatic_sizes(
    network: nn.Module, images: Tensor, classes: int, differentiable: bool
) -> tuple[int, int]:
    """Chooses sizes that fit a CPU's caches or an accelerator's memory.

    On a CPU, several classes at once are faster only for gradients that are differentiated again, which keep
    twice as much memory. Other gradients are computed there without torch.func. On an accelerator, vmap saves
    launches of kernels, which matters for small batches alone.

    Args:
        network: as in `class_gradients`.
        images: of one class, [n, channels, H, W], on the device.
        classes: C.
        differentiable: whether the gradients are differentiated again.

    Returns:
        Images per microbatch, and classes per block.
    """
    at_once = fitting_batch_size(network, images[:1])
    in_block = at_once
    if images.device.type == "cpu":
        in_block = at_once // 2 if differentiable else 1
    elif not differentiable:
        in_block = min(at_once, REAL_IMAGES_AT_ONCE)
    return min(at_once, len(images)), min(max(1, in_block // len(images)), classes)


def vmap_is_right(network: nn.Module, image: Tensor) -> bool:
    """Checks that class gradients of two classes at once have the same derivative as those of one at a time.

    torch's batching rules differentiate some layers wrongly a second time (layer norm: torch 2.15). The check
    runs on the CPU in float64, which some accelerators lack.

    Args:
        network: as in `class_gradients`.
        image: [1, channels, H, W].
    """
    network, image = copy.deepcopy(network).cpu().double(), image.cpu().double()
    images = torch.stack([image, image.flip(-1)]).requires_grad_()

    def derivative(classes_per_block: int) -> Tensor:
        blocks = Blocks(classes_per_block=classes_per_block)
        layers = class_gradients(network, images, create_graph=True, blocks=blocks)
        return torch.autograd.grad(torch.stack([g.square().sum() for g in layers.values()]).sum(), images)[0]

    expected = derivative(1)
    return bool((derivative(2) - expected).norm() <= 1e-6 * expected.norm())


@contextmanager
def _tf32() -> Iterator[None]:
    # Allows TF32 in convolutions and matrix products; gmlight disables it everywhere else.
    flags = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = flags
