"""What is learned, and the differentiable map from it to images."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from gmlight.artifacts.decoding import Stored, composed, multi_formed, parts
from gmlight.data.images import LabelledImages
from gmlight.errors import ConfigError


class Synthetic(nn.Module):
    """A synthetic set S. Its parameters are what is learned and stored; forward maps them to images."""

    def forward(self) -> Tensor:
        """The images of every class, [C, n, channels, H, W]."""
        raise NotImplementedError

    def stored(self) -> Stored:
        """What an artifact keeps; of a form that `forms.formed` does not know, the images."""
        return Stored({"images": self().detach().flatten(0, 1)}, {"name": "pixels"})

    @property
    def floats(self) -> int:
        """Numbers that are stored."""
        return sum(tensor.numel() for tensor in self.stored().tensors.values())

    def labelled(self) -> LabelledImages:
        """S as a training set, detached: images [C * n, channels, H, W], labels [C * n]."""
        return flatten(self().detach(), self.floats)


class Pixels(Synthetic):
    """The images themselves: the map is the identity.

    Args:
        images: the start, normalised, [C, ipc, channels, H, W].
    """

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.images = nn.Parameter(images.clone())

    def forward(self) -> Tensor:
        return self.images


class MultiFormation(Synthetic):
    """Each stored image is cut into factor x factor parts, each of which is enlarged to an image.

    Kim et al., "Dataset Condensation via Efficient Synthetic-Data Parameterization", ICML 2022, section 4:
    ipc stored images yield ipc * factor^2 images, by bilinear interpolation. Where the size is no multiple of
    the factor some parts are a pixel larger.

    Args:
        stored: [C, ipc, channels, H, W].
    """

    def __init__(self, stored: Tensor, factor: int) -> None:
        super().__init__()
        self.images, self.factor = nn.Parameter(stored.clone()), factor

    def forward(self) -> Tensor:
        return multi_formed(self.images, self.factor)

    def stored(self) -> Stored:
        form = {"name": "multi_formation", "factor": self.factor}
        return Stored({"images": self.images.detach().flatten(0, 1)}, form)


class SharedComponents(Synthetic):
    """Images whose pixels are the sigmoid of weighted sums of the components that a class shares.

    Wiewel and Yang, "Condensed Composite Memory Continual Learning", IJCNN 2021, section III.

    Args:
        components: [C, p, channels, H, W]. weights: of each image's sum, [C, n, p].
        mean, std: per channel, of pixels in 0..1.
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


def pixels(start: Tensor, **_: Any) -> Pixels:
    """`synthetic=pixels`. start: [C, ipc, channels, H, W]."""
    return Pixels(start)


def multi_formation(start: Tensor, *, ipc: int, factor: int, **_: Any) -> MultiFormation:
    """`synthetic=multi_formation`.

    Args:
        start: [C, ipc, channels, H, W], stored as it is; or [C, ipc * factor^2, ...], each reduced to a part.
    """
    height, width = start.shape[-2:]
    if factor > min(height, width):
        raise ConfigError(f"synthetic.factor={factor}: must be at most the image size {min(height, width)}")
    if start.shape[1] == ipc:
        return MultiFormation(start, factor)
    stored = start.new_empty(len(start), ipc, *start.shape[2:])
    of_parts = start.unflatten(1, (ipc, factor**2))
    for i, (rows, columns) in enumerate(parts(height, width, factor)):
        size = rows.stop - rows.start, columns.stop - columns.start
        reduced = interpolate(of_parts[:, :, i].flatten(0, 1), size, mode="bilinear", antialias=True)
        stored[..., rows, columns] = reduced.unflatten(0, stored.shape[:2])
    return MultiFormation(stored, factor)


def shared_components(
    start: Tensor, *, mean: Sequence[float], std: Sequence[float], rng: torch.Generator, images: int, **_: Any
) -> SharedComponents:
    """`synthetic=shared_components`: each starting image is a component, each image at first one of these.

    Args:
        start: [C, p, channels, H, W]. images: n, per class.
    """
    classes, p = start.shape[:2]
    shape = (-1, 1, 1)
    mean_of, std_of = (start.new_tensor(each).view(shape) for each in (mean, std))
    seen = (start * std_of + mean_of).clamp(0.02, 0.98)  # where the sigmoid has a slope
    chosen = torch.eye(p)[torch.arange(images) % p].expand(classes, -1, -1)
    # Images that begin alike would stay alike.
    weights = chosen + 0.1 * torch.randn(classes, images, p, generator=rng)
    return SharedComponents(seen.logit(), weights.to(start), mean, std)


def flatten(images: Tensor, floats: int | None = None) -> LabelledImages:
    """[C, n, channels, H, W] -> a training set in the order of the classes.

    Args:
        floats: numbers that are stored for it; null: its own.
    """
    classes, n = images.shape[:2]
    labels = torch.arange(classes, device=images.device).repeat_interleave(n)
    return LabelledImages(images.flatten(0, 1), labels, floats)
