"""How class gradients are computed on a device: sizes of blocks and microbatches, precision, compilation.

A CPU's caches want few images at once, an accelerator as many as its memory takes.
"""

import copy
import functools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from gmlight import operations
from gmlight.compilation import Compilation, Compiled
from gmlight.errors import ConfigError
from gmlight.gradients import BlockGradients, Layers, block_gradients, class_gradients

CPU_CACHE = 24 * 2**20  # bytes of activations that one microbatch may keep on a CPU
GPU_SHARE = 0.5  # of the free memory, for the activations of one microbatch
KEPT_AGAIN = 4  # a gradient and its derivative keep about as many times what the forward pass keeps


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
        self._sizes: dict[tuple[int, ...], tuple[int, int]] = {}  # by number of images and shape
        self._decided = False
        self._compiled: Compiled | None = None

    def real(
        self, network: nn.Module, images: Tensor | Sequence[Tensor], labels: Sequence[Tensor] | None = None
    ) -> Layers:
        """The gradients on real images, without a graph."""
        microbatch, classes = self._resolve(network, images, differentiable=False)
        with _tf32() if self._precision == "tf32" else nullcontext():
            return class_gradients(
                network,
                images,
                labels=labels,
                microbatch=microbatch,
                classes_per_block=classes,
                of_block=self._real_blocks(network, images[0][0]),
            )

    def synthetic(self, network: nn.Module, images: Tensor, labels: Sequence[Tensor] | None = None) -> Layers:
        """The gradients on synthetic images, which can be differentiated with respect to these."""
        microbatch, classes = self._resolve(network, images, differentiable=True)
        return class_gradients(
            network,
            images,
            create_graph=True,
            labels=labels,
            microbatch=microbatch,
            classes_per_block=classes,
        )

    def _real_blocks(self, network: nn.Module, image: Tensor) -> BlockGradients:
        precision = torch.bfloat16 if self._precision == "bfloat16" else None
        if not self._decided:
            self._decided = True

            def work() -> int:
                return self._real_images * operations.count(network, image.shape).real

            if self._compilation.pays(work, image.device):
                # Once for all networks: their values come as inputs, and this copy stays in eval mode.
                function = functools.partial(block_gradients, copy.deepcopy(network), precision=precision)
                self._compiled = Compiled(function, "the gradient on real images", self._compilation.notify)
        return self._compiled or functools.partial(block_gradients, network, precision=precision)

    def _resolve(
        self, network: nn.Module, images: Tensor | Sequence[Tensor], differentiable: bool
    ) -> tuple[int, int]:
        first = images[0]
        key = (differentiable, len(images), *first.shape)
        if key not in self._sizes:
            microbatch, classes = automatic_sizes(network, first, len(images), differentiable)
            microbatch, classes = self._microbatch or microbatch, self._classes_per_block or classes
            if differentiable and classes > 1 and not vmap_is_right(network, first[:1]):
                if self._classes_per_block is not None:
                    raise ConfigError(
                        f"speed.classes_per_block={classes}: torch.func.vmap differentiates this "
                        "architecture wrongly; use speed.classes_per_block=1 or auto"
                    )
                classes = 1
            self._sizes[key] = microbatch, classes
        return self._sizes[key]


def automatic_sizes(
    network: nn.Module, images: Tensor, classes: int, differentiable: bool
) -> tuple[int, int]:
    """Microbatch and classes per block that suit the device of a class's images [n, channels, H, W].

    As many images at once as a CPU's caches or an accelerator's free memory hold. On a CPU several classes at
    once pay only for gradients that are differentiated again: the others do without torch.func there.
    """
    at_once = images_at_once(network, images[:1])
    one_by_one = images.device.type == "cpu" and not differentiable
    block = 1 if one_by_one else max(1, at_once // len(images))
    return min(at_once, len(images)), min(block, classes)


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


def images_at_once(network: nn.Module, image: Tensor) -> int:
    """A power of two: images whose activations the caches of a CPU or the free memory of a GPU hold."""
    kept = kept_bytes(network, image)
    if image.device.type == "cpu":
        fitting = CPU_CACHE // kept
    else:
        free, _ = torch.get_device_module(image.device).mem_get_info(image.device)
        fitting = int(free * GPU_SHARE) // (kept * KEPT_AGAIN)
    return 2 ** int(math.log2(max(1, fitting)))


def kept_bytes(network: nn.Module, image: Tensor) -> int:
    """Bytes that the forward pass of one image [1, channels, H, W] keeps for the backward pass."""
    of_network = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in of_network:
            sizes[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        kept = network(image)  # the graph lives until the sizes are known, so that no address comes twice
    del kept
    return max(1, sum(sizes.values()))


@contextmanager
def _tf32() -> Iterator[None]:
    # Convolutions and matrix products in TF32; everywhere else gmlight has it off.
    flags = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = flags
