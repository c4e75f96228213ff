"""Parameterizations of the synthetic set and their differentiable decoding to images.

A factory function takes the initial images, and ipc, mean, std and rng as keywords. It may declare
`stores_pixels`: the images themselves are learned and stored; and `has_prefixes`: each stored image is
decoded to images of its own, which follow one another.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from gmlight.artifacts.decoding import Stored, composed, multi_formed, parts
from gmlight.data.images import LabelledImages
from gmlight.errors import ConfigError
from gmlight.runtime.answers import answers


class Synthetic(nn.Module):
    """A synthetic set. Its parameters are learned and stored; forward decodes them to images."""

    stores_pixels = False

    def forward(self) -> Tensor:
        """Decodes the images of every class, [C, n, channels, H, W]."""
        raise NotImplementedError

    def stored(self) -> Stored:
        """Returns what an artifact stores: the images, or parameters that `artifacts.decoding` decodes."""
        return Stored({"images": self().detach().flatten(0, 1)}, {"name": "pixels"})

    def clip(self, least: Tensor, most: Tensor) -> None:
        """Keeps stored pixels within bounds; images that are decoded into the range stay as they are.

        Args:
            least: smallest value of each channel, [channels, 1, 1].
            most: greatest value of each channel, [channels, 1, 1].
        """

    @property
    def floats(self) -> int:
        """Number of floats that are stored."""
        return sum(tensor.numel() for tensor in self.stored().tensors.values())

    def labelled(self) -> LabelledImages:
        """Decodes a detached training set: images [C * n, channels, H, W], labels [C * n]."""
        return flatten(self().detach(), self.floats)


class Pixels(Synthetic):
    """Images that are learned and stored as they are.

    Args:
        images: initial images, normalised, [C, ipc, channels, H, W].
    """

    stores_pixels = True

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.images = nn.Parameter(images.clone())

    def forward(self) -> Tensor:
        return self.images

    @torch.no_grad()
    def clip(self, least: Tensor, most: Tensor) -> None:
        self.images.clamp_(least, most)


class MultiFormation(Synthetic):
    """Stored images that are cut into factor x factor parts; each part is enlarged to an image.

    Kim et al., "Dataset Condensation via Efficient Synthetic-Data Parameterization", ICML 2022, section 4:
    ipc stored images yield ipc * factor^2 images, by bilinear interpolation. If the size is not a multiple of
    the factor, some parts are one pixel larger.

    Args:
        stored: initial stored images, normalised, [C, ipc, channels, H, W].
        factor: parts in each direction.
    """

    def __init__(self, stored: Tensor, factor: int) -> None:
        super().__init__()
        self.images, self.factor = nn.Parameter(stored.clone()), factor

    def forward(self) -> Tensor:
        return multi_formed(self.images, self.factor)

    @torch.no_grad()
    def clip(self, least: Tensor, most: Tensor) -> None:
        self.images.clamp_(least, most)

    def stored(self) -> Stored:
        form = {"name": "multi_formation", "factor": self.factor}
        return Stored({"images": self.images.detach().flatten(0, 1)}, form)


class SharedComponents(Synthetic):
    """Images of a class as the sigmoid of weighted sums of its shared components.

    Wiewel and Yang, "Condensed Composite Memory Continual Learning", IJCNN 2021, section III.

    Args:
        components: initial components, [C, p, channels, H, W].
        weights: initial weights of each image, [C, n, p].
        mean: per channel, of pixels in 0..1.
        std: per channel, of pixels in 0..1.
    """

    def __init__(
        self, components: Tensor, weights: Tensor, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.components, self.weights = nn.Parameter(components.clone()), nn.Parameter(weights.clone())
        self._mean: Tensor
        self._std: Tensor
        for name, values in (("_mean", mean), ("_std", std)):
            self.register_buffer(name, components.new_tensor(values), persistent=False)

    def forward(self) -> Tensor:
        return composed(self.components, self.weights, self._mean, self._std)

    def stored(self) -> Stored:
        tensors = {"components": self.components.detach(), "weights": self.weights.detach()}
        return Stored(tensors, {"name": "shared_components"})


@answers(stores_pixels=True, has_prefixes=True)
def pixels(start: Tensor, **_: Any) -> Pixels:
    """Makes `synthetic=pixels` from images [C, ipc, channels, H, W]."""
    return Pixels(start)


@answers(has_prefixes=True)
def multi_formation(start: Tensor, *, ipc: int, factor: int, **_: Any) -> MultiFormation:
    """Makes `synthetic=multi_formation`.

    Args:
        start: [C, ipc, channels, H, W], stored unchanged; or [C, ipc * factor^2, ...], each shrunk to a part.
        ipc: stored images per class.
        factor: parts in each direction.

    Raises:
        ConfigError: the factor is larger than the images.
    """
    height, width = start.shape[-2:]
    if factor > min(height, width):
        raise ConfigError(f"synthetic.factor={factor}: must be at most the image size {min(height, width)}")
    if start.shape[1] == ipc:
        return MultiFormation(start, factor)
    stored = start.new_empty(len(start), ipc, *start.shape[2:])
    images_by_part = start.unflatten(1, (ipc, factor**2))
    for i, (rows, columns) in enumerate(parts(height, width, factor)):
        size = rows.stop - rows.start, columns.stop - columns.start
        reduced = interpolate(images_by_part[:, :, i].flatten(0, 1), size, mode="bilinear", antialias=True)
        stored[..., rows, columns] = reduced.unflatten(0, stored.shape[:2])
    return MultiFormation(stored, factor)


def shared_components(
    start: Tensor, *, mean: Sequence[float], std: Sequence[float], rng: torch.Generator, images: int, **_: Any
) -> SharedComponents:
    """Makes `synthetic=shared_components`: the initial images become the components.

    Args:
        start: initial images, normalised, [C, p, channels, H, W].
        mean: per channel, of pixels in 0..1.
        std: per channel, of pixels in 0..1.
        rng: CPU generator of the initial weights.
        images: n, images per class.
    """
    classes, p = start.shape[:2]
    shape = (-1, 1, 1)
    channel_mean, channel_std = (start.new_tensor(values).view(shape) for values in (mean, std))
    clamped = (start * channel_std + channel_mean).clamp(0.02, 0.98)  # where the sigmoid has a slope
    chosen = torch.eye(p)[torch.arange(images) % p].expand(classes, -1, -1)
    # Noise, because images with equal weights would stay equal.
    weights = chosen + 0.1 * torch.randn(classes, images, p, generator=rng)
    return SharedComponents(clamped.logit(), weights.to(start), mean, std)


def flatten(images: Tensor, floats: int | None = None) -> LabelledImages:
    """Makes a training set, in the order of the classes.

    Args:
        images: [C, n, channels, H, W].
        floats: number of floats that are stored for the set; None: the images are stored.
    """
    classes, n = images.shape[:2]
    labels = torch.arange(classes, device=images.device).repeat_interleave(n)
    return LabelledImages(images.flatten(0, 1), labels, floats)
