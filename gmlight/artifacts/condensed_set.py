"""A condensed set on disk: a folder of three files.

condensed.safetensors   images, normalised float32 [N, channels, H, W], and labels int64 [N]; or the tensors
                        from which the images are decoded, by the `form` in the metadata; optionally
                        soft_labels, probabilities of the classes, float32 [N, C]
metadata.json           schema version, classes, normalisation, configuration, accuracy, hash of the tensors
grid.png                the images as a picture
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save as save_safetensors
from torch import Tensor

from gmlight.artifacts.decoding import Stored, formed
from gmlight.artifacts.grid import save_grid
from gmlight.artifacts.hub import download
from gmlight.artifacts.hub_names import is_hub_name
from gmlight.artifacts.joining import Part, join
from gmlight.artifacts.record import headline
from gmlight.artifacts.results import Accuracy, accuracies_by_architecture
from gmlight.artifacts.run_folder import RunFolder
from gmlight.artifacts.set_checks import check_decoded, check_metadata, check_tensors
from gmlight.artifacts.set_files import (
    GRID,
    METADATA,
    TENSORS,
    move_into_place,
    read_metadata,
    read_tensors,
    write_metadata,
)
from gmlight.artifacts.value_checks import check_run
from gmlight.data.images import DatasetInfo, LabelledImages
from gmlight.errors import ConfigError, one_line
from gmlight.runtime.atomic import partial_path
from gmlight.runtime.console import pluralize


class CondensedDataset(torch.utils.data.Dataset):
    """A condensed set as a torchvision-style dataset of (image, label).

    Args:
        path: a run folder, or the folder of its condensed set; or a set on Hugging Face's hub,
            `hf://user/name` or `hf://user/name@revision`.
        transform: applied to each indexed image, float32 [channels, H, W]; None: none.
        target_transform: applied to each indexed label, an int; None: none.
        ipc: keeps the first stored images of each class; None: all. A run with `multi_size=true` makes every
            such prefix a good set.

    Attributes:
        path: as given; of a set on the hub, its folder in the library's cache.
        images: normalised float32, [N, channels, H, W], decoded if the set is stored in a smaller form.
        labels: int64, [N], in 0..C-1.
        soft_labels: what networks learn instead of the labels: a probability of each class for each image,
            float32 [N, C]; None: networks learn the labels.
        targets: the labels as a list of N ints, as in torchvision.
        classes: C class names, by label.
        class_to_idx: label by class name.
        mean: per channel, of pixels in 0..1; pixels are image * std + mean.
        std: per channel, of pixels in 0..1.
        form: how the images are stored: `name`, and options of the form.
        floats: number of stored values: those of the images and the soft labels; labels are not counted.
        metadata: content of metadata.json.

    Raises:
        ConfigError: there is no condensed set, its files are damaged or contradict each other, a newer
            gmlight wrote it, or it does not have as many images of each class.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        transform: Callable[[Tensor], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        *,
        ipc: int | None = None,
    ) -> None:
        self.path = _local(path)
        folder = find(self.path)
        self.metadata, stored = read_checked(folder)
        self.classes: list[str] = self.metadata["classes"]
        self.mean: list[float] = self.metadata["mean"]
        self.std: list[float] = self.metadata["std"]
        self.form: dict[str, Any] = stored.form
        self.images, self.labels = formed(stored, len(self.classes), self.mean, self.std)
        self.soft_labels: Tensor | None = stored.tensors.get("soft_labels")
        _check(folder, check_decoded, self.images)
        self.floats: int = sum(t.numel() for name, t in stored.tensors.items() if name != "labels")
        if ipc is not None:
            self._keep_first(ipc, stored)
        self.targets: list[int] = self.labels.tolist()
        self.class_to_idx = {name: label for label, name in enumerate(self.classes)}
        self.transform, self.target_transform = transform, target_transform

    @classmethod
    def union(
        cls, parts: "Sequence[CondensedDataset | str | os.PathLike[str]]", to: str | os.PathLike[str]
    ) -> "CondensedDataset":
        """Joins sets of different classes into a new set with all their classes.

        Labels are renumbered in the order of the parts. The stored form is kept if all parts have the same;
        otherwise the decoded images are stored.

        Args:
            parts: two or more sets, their folders, run folders, or names on the hub; they are joined as they
                are stored, without transforms and with all their images.
            to: a new folder.

        Returns:
            The joined set.

        Raises:
            ConfigError: a class is in two parts, the parts differ in shape or normalisation, a part cannot be
                read, or the folder is not empty.
        """
        paths = [part.path if isinstance(part, CondensedDataset) else _local(part) for part in parts]
        folder = RunFolder(Path(to))
        if not folder.is_free:
            raise ConfigError(f"to={to}: already holds a run or other files; choose another folder")
        joined = join([Part(path, *read_checked(find(path))) for path in paths], folder.path)
        created = {"created": datetime.now(timezone.utc).isoformat(timespec="seconds")}
        metadata = joined.metadata | created
        write(folder.condensed, joined.images, joined.info, metadata, stored=joined.stored)
        return cls(folder.path)

    def _keep_first(self, ipc: int, stored: Stored) -> None:
        # Keeps the first ipc stored images of each class, each decoded to as many images.
        if "images" not in stored.tensors:
            raise ConfigError(f"{self.path}: ipc={ipc}: its images share components; use all of them")
        decoded = len(self.labels) // len(stored.tensors["images"])
        fewest = int(self.labels.bincount(minlength=len(self.classes)).min()) // decoded
        if not 1 <= ipc <= fewest:
            raise ConfigError(
                f"{self.path}: ipc={ipc}: must be from 1 to {fewest}, the set's images per class"
            )
        of_class = [(self.labels == c).nonzero().squeeze(1) for c in range(len(self.classes))]
        kept = torch.cat([indices[: ipc * decoded] for indices in of_class]).sort().values
        self.images, self.labels = self.images[kept], self.labels[kept]
        self.floats = len(kept) // decoded * stored.tensors["images"][0].numel()
        if self.soft_labels is not None:
            self.soft_labels = self.soft_labels[kept]
            self.floats += self.soft_labels.numel()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Returns an image, float32 [channels, H, W], and its label, an int, after their transforms.

        The label is the class, also if there are soft labels; their row of the image is `soft_labels[index]`.
        """
        image, label = self.images[index], int(self.labels[index])
        return (
            image if self.transform is None else self.transform(image),
            label if self.target_transform is None else self.target_transform(label),
        )

    def __repr__(self) -> str:
        size = "x".join(map(str, self.images.shape[1:]))
        lines = [f"{len(self)} images of {len(self.classes)} classes, {size}"]
        if describes_run(self.metadata):
            lines.append(headline(self.metadata))
        if self.soft_labels is not None:
            lines.append("with soft labels")
        if not self.metadata.get("complete", True):
            lines.append("incomplete: its run stopped early")
        lines += [
            f"{architecture}: {accuracy} % of the test images, {pluralize(len(accuracy.values), 'network')}"
            for architecture, accuracy in self.evaluations.items()
        ]
        return "\n".join([f"CondensedDataset {self.path}", *(f"    {one_line(line)}" for line in lines)])

    @property
    def evaluations(self) -> dict[str, Accuracy]:
        """Test accuracies by architecture, from the final evaluation of the set's run; empty before it."""
        return accuracies_by_architecture(self.metadata.get("evaluations", []))

    @property
    def normalize(self) -> Callable[[Any], Tensor]:
        """A torchvision transform that normalises real images like those of the set, without resizing.

        It takes a PIL image, a uint8 array [H, W, channels], or a tensor [..., channels, H, W], uint8 or
        float in 0..1. It returns float32 [..., channels, H, W].
        """
        from torchvision.transforms import v2

        return v2.Compose(
            [
                v2.ToImage(),
                v2.RGB() if len(self.mean) == 3 else v2.Grayscale(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(self.mean, self.std),
                v2.ToPureTensor(),
            ]
        )

    def to_pil(self, index: int) -> Image.Image:
        """Converts an image to a PIL image: 8 bits per channel, values outside 0..1 clipped."""
        shape = (-1, 1, 1)
        mean, std = (self.images.new_tensor(values).view(shape) for values in (self.mean, self.std))
        pixels = ((self.images[index] * std + mean).clamp(0, 1) * 255).round().byte()
        array = pixels[0] if len(pixels) == 1 else pixels.permute(1, 2, 0).contiguous()
        return Image.fromarray(array.numpy())

    def labelled(self) -> LabelledImages:
        """Returns the images as a training set, in the stored order; with their soft labels, if any."""
        return LabelledImages(self.images, self.labels, self.floats, self.soft_labels)


def _local(path: str | os.PathLike[str]) -> Path:
    return download(str(path)) if is_hub_name(path) else Path(path)


def read_checked(folder: Path) -> tuple[dict[str, Any], Stored]:
    """Reads the metadata and the tensors of a set, and checks each and one against the other.

    Raises:
        ConfigError: the files are damaged or contradict each other; the line names the folder and the key.
    """
    metadata = read_metadata(folder)
    _check(folder, check_metadata, metadata)
    form = metadata.get("form", {"name": "pixels"})
    stored = Stored(read_tensors(folder, metadata["sha256"]), form)
    _check(folder, check_tensors, stored, metadata)
    return metadata, stored


def describes_run(metadata: Mapping[str, Any]) -> bool:
    """Whether the metadata name the run that made the set; the set itself does not need it."""
    try:
        check_run(metadata)
    except ConfigError:
        return False
    return True


def _check(folder: Path, check: Callable[..., None], *values: Any) -> None:
    try:
        check(*values)
    except ConfigError as error:
        raise ConfigError(f"{folder}: not a valid condensed set: {error}; do not use it") from None


def find(path: str | os.PathLike[str]) -> Path:
    """Finds the folder of a condensed set.

    Args:
        path: the set's folder, or its run folder.

    Raises:
        ConfigError: there is no condensed set.
    """
    for folder in (Path(path), RunFolder(Path(path)).condensed):
        if (folder / METADATA).exists():
            return folder
    raise ConfigError(f"{path}: no condensed set there; name a run folder or the folder of a {METADATA}")


def write(
    folder: Path,
    images: LabelledImages,
    info: DatasetInfo,
    metadata: Mapping[str, Any],
    *,
    stored: Stored | None = None,
    replace: bool = False,
) -> None:
    """Writes a new condensed set, completely or not at all.

    Args:
        folder: of the set.
        images: the set, normalised as `info` says; its soft labels are written too.
        info: of the dataset.
        metadata: further metadata, as plain containers.
        stored: tensors from which the images are decoded; None: the images themselves are stored.
        replace: whether to replace an existing set.

    Raises:
        OSError: the folder is not empty and `replace` is not set.
    """
    stored = stored or Stored({"images": images.images}, {"name": "pixels"})
    soft = {} if images.soft_labels is None else {"soft_labels": images.soft_labels}
    tensors = {name: t.float().cpu().contiguous() for name, t in (stored.tensors | soft).items()}
    floats = sum(tensor.numel() for tensor in tensors.values())
    content = save_safetensors(tensors | {"labels": images.labels.long().cpu().contiguous()})
    computed: dict[str, Any] = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "classes": info.classes,
        "mean": info.mean,
        "std": info.std,
        "form": stored.form,
        **({"soft_labels": True} if soft else {}),
        "storage": {"floats": floats, "bytes": 4 * floats},
        "data": None if info.digest is None else info.digest.as_dict(),
    }
    beside = partial_path(folder)
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        (beside / TENSORS).write_bytes(content)
        save_grid(beside / GRID, images, info)
        write_metadata(beside, {**computed, **metadata})
        move_into_place(beside, folder, replace=replace)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def update_metadata(folder: Path, **changes: Any) -> None:
    """Adds entries to the metadata of a set, such as its accuracy, or replaces them."""
    write_metadata(folder, read_metadata(folder) | changes)
