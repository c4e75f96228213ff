"""Writers of a condensed set in common formats.

Each writer takes an empty folder and the set. A lossy writer returns the set as read from its files, with
images normalised like those of the set, and with the soft labels only if the files hold them; a lossless
writer returns None.
"""

import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from jinja2 import StrictUndefined, Template
from PIL import Image
from torch import Tensor

from gmlight.artifacts.condensed_set import CondensedDataset, describes_run
from gmlight.artifacts.inert import code_fence, markdown_text
from gmlight.artifacts.quantization import PACKED_BITS, dequantize, pack, quantize
from gmlight.data.images import LabelledImages
from gmlight.errors import ConfigError, one_line

CARD, CARD_NAME = Path(__file__).with_name("card.md"), "README.md"
PNG_CHANNELS = (1, 3)
# Size categories of Hugging Face, each with its upper bound.
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def png(folder: Path, condensed: CondensedDataset) -> LabelledImages:
    """Writes `<label>_<class>/<number>.png`; sorted folder names are in the order of the labels.

    Raises:
        ConfigError: the images do not have 1 or 3 channels.
    """
    pictures = _pictures(condensed)
    for label, name in enumerate(folder_names(condensed.classes)):
        (folder / name).mkdir()
        numbers = (condensed.labels == label).nonzero().flatten().tolist()
        for n, i in enumerate(numbers):
            pictures[i].save(folder / name / f"{n:04d}.png")
    return _read_back(pictures, condensed)


def npz(folder: Path, condensed: CondensedDataset) -> None:
    """Writes condensed.npz: images float32 [N, channels, H, W], normalised; labels, classes, mean, std."""
    arrays: dict[str, Any] = {name: np.asarray(value) for name, value in _content(condensed).items()}
    np.savez_compressed(folder / "condensed.npz", **arrays)


def numpy_file(folder: Path, condensed: CondensedDataset, *, bits: int) -> LabelledImages | None:
    """Writes condensed.npz for `numpy.load` without pickle, with values of few bits.

    `images` has packed codes, highest bit first, if bits is at most 8: a value is code * scale + offset of
    its channel. Otherwise it has floats. `shape` is [N, channels, H, W]; `labels`, `classes`, `mean` and
    `std` are those of the set, and `soft_labels` if it has any.

    Args:
        folder: empty.
        condensed: the set.
        bits: per value: 4, 6, 8, 16 or 32.
    """
    content: dict[str, Any] = {"bits": bits, "shape": np.array(condensed.images.shape)}
    read: Tensor | None = None
    if bits in PACKED_BITS:
        quantized = quantize(condensed.images, bits)
        content |= {
            "images": pack(quantized.codes, bits),
            "scale": quantized.scale,
            "offset": quantized.offset,
        }
        read = dequantize(quantized)
    else:
        values = condensed.images.half() if bits == 16 else condensed.images
        content["images"], read = values.numpy(), values.float() if bits == 16 else None
    if condensed.soft_labels is not None:
        content["soft_labels"] = condensed.soft_labels.numpy()
    small = np.uint8 if len(condensed.classes) <= 2**8 else np.int32
    np.savez_compressed(
        folder / "condensed.npz",
        labels=condensed.labels.numpy().astype(small),
        classes=np.array(condensed.classes),
        mean=np.array(condensed.mean, dtype=np.float32),
        std=np.array(condensed.std, dtype=np.float32),
        **content,
    )
    if read is None:
        return None
    return LabelledImages(read, condensed.labels, soft_labels=condensed.soft_labels)


def pt(folder: Path, condensed: CondensedDataset) -> None:
    """Writes the content of `npz` to condensed.pt, for `torch.load(path, weights_only=True)`."""
    torch.save(_content(condensed), folder / "condensed.pt")


def _content(condensed: CondensedDataset) -> dict[str, Any]:
    names = ["images", "labels", "classes", "mean", "std"]
    if condensed.soft_labels is not None:
        names.append("soft_labels")
    return {name: getattr(condensed, name) for name in names}


def parquet(folder: Path, condensed: CondensedDataset, *, repository: str | None = None) -> LabelledImages:
    """Writes a Hugging Face dataset: data/train-00000-of-00001.parquet, and a dataset card.

    Args:
        folder: empty.
        condensed: the set.
        repository: of the hub, which the card names; None: the folder.

    Raises:
        ConfigError: pyarrow is not installed, or the images do not have 1 or 3 channels.
    """
    try:
        import pyarrow
        from pyarrow import parquet as pyarrow_parquet
    except ModuleNotFoundError:
        raise ConfigError("format=parquet: pyarrow is not installed; pip install 'gmlight[hf]'") from None
    pictures = _pictures(condensed)
    features = {"image": {"_type": "Image"}, "label": {"names": condensed.classes, "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    image = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    schema = pyarrow.schema([("image", image), ("label", pyarrow.int64())], metadata=metadata)
    rows = {
        "image": [{"bytes": _encode_png(p), "path": f"{i:06d}.png"} for i, p in enumerate(pictures)],
        "label": condensed.labels.tolist(),
    }
    (folder / "data").mkdir()
    pyarrow_parquet.write_table(pyarrow.table(rows, schema), folder / "data" / "train-00000-of-00001.parquet")
    (folder / CARD_NAME).write_text(_card(condensed, repository), encoding="utf-8")
    return _read_back(pictures, condensed)


def folder_names(classes: Sequence[str]) -> list[str]:
    """Returns a folder name for each class, with characters that every filesystem allows.

    The label comes first, because readers number the classes by sorted folder names.
    """
    digits = len(str(len(classes) - 1))
    safe = [re.sub(r"[^\w-]+", "_", name, flags=re.ASCII).strip("_")[:80] for name in classes]
    return [f"{i:0{digits}d}_{name}".rstrip("_") for i, name in enumerate(safe)]


def share_clipped(condensed: CondensedDataset) -> float:
    """Returns the share, in 0..1, of pixel values outside 0..1, which 8-bit images cannot hold."""
    pixels = _pixels(condensed)
    return ((pixels < 0) | (pixels > 1)).float().mean().item()


def _pixels(condensed: CondensedDataset) -> Tensor:
    # Reverses the normalisation: pixels in about 0..1.
    mean, std = _statistics(condensed)
    return condensed.images * std + mean


def _pictures(condensed: CondensedDataset) -> list[Image.Image]:
    channels = condensed.images.shape[1]
    if channels not in PNG_CHANNELS:
        raise ConfigError(f"images of {channels} channels cannot be PNGs; use format=npz or format=pt")
    pixels = (_pixels(condensed).clamp(0, 1) * 255).round().byte()
    if channels == 1:
        return [Image.fromarray(image[0].numpy()) for image in pixels]
    return [Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()) for image in pixels]


def _read_back(pictures: Sequence[Image.Image], condensed: CondensedDataset) -> LabelledImages:
    arrays = [np.asarray(Image.open(io.BytesIO(_encode_png(picture)))) for picture in pictures]
    pixels = torch.from_numpy(np.stack(arrays)).float() / 255
    pixels = pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)  # [N, channels, H, W]
    mean, std = _statistics(condensed)
    return LabelledImages(((pixels - mean) / std).contiguous(), condensed.labels)


def _statistics(condensed: CondensedDataset) -> tuple[Tensor, Tensor]:
    mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (condensed.mean, condensed.std))
    return mean, std


def _encode_png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def size_category(images: int) -> str:
    """Returns Hugging Face's name for a number of images."""
    return next((name for bound, name in SIZES if images < bound), "n>1M")


def _card(condensed: CondensedDataset, repository: str | None) -> str:
    metadata, n = condensed.metadata, len(condensed)
    run: dict[str, Any] = metadata if describes_run(metadata) else {}
    soft = 0 if condensed.soft_labels is None else condensed.soft_labels.numel()
    stored = round((condensed.floats - soft) / condensed.images[0].numel() / len(condensed.classes))
    name = run["config"]["dataset"]["name"] if run else "images"
    head = {
        "pretty_name": one_line(f"{name}, condensed to {run['config']['ipc'] if run else stored} per class"),
        "task_categories": ["image-classification"],
        "size_categories": [size_category(n)],
        "tags": ["dataset-condensation", "gmlight"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/*.parquet"}]}],
    }
    template = Template(CARD.read_text(), trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    command = one_line(run.get("command", ""))
    return template.render(
        head=yaml.safe_dump(head, sort_keys=False).rstrip(),
        title=markdown_text(head["pretty_name"]),
        learned=run["config"].get("iterations", 1)
        if run and not {"converted", "parts"} & run.keys()
        else None,
        complete=metadata.get("complete", True),
        command=command,
        fence=code_fence(command),
        labels={key: markdown_text(run.get(key, "plain")) for key in ("method", "scale", "protocol")},
        n=n,
        repository=repository,
        soft=condensed.soft_labels is not None,
        shape="x".join(map(str, condensed.images.shape[1:])),
        classes=condensed.classes,
        mean=condensed.mean,
        std=condensed.std,
        evaluations=[
            (markdown_text(architecture), str(accuracy), len(accuracy.values))
            for architecture, accuracy in condensed.evaluations.items()
        ],
    )
