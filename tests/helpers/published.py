"""Writes condensed sets as other programs publish them, in the structure of their files."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def write_dc(path: Path, *experiments: tuple[Tensor, Tensor]) -> Path:
    """As DC, DSA and DM: their accuracies are NumPy scalars."""
    accuracies = {"ConvNet": [np.float64(0.61), np.float64(0.62)], "MLP": []}
    torch.save({"data": [list(each) for each in experiments], "accs_all_exps": accuracies}, path)
    return path


def write_idc(folder: Path, images: Tensor, labels: Tensor) -> Path:
    """As IDC and DREAM."""
    folder.mkdir(exist_ok=True)
    torch.save([images, labels], folder / "data.pt")
    return folder


def write_mtt(folder: Path, images: Tensor, labels: Tensor, rate: object = None) -> Path:
    """As MTT; those after it also write a learning rate."""
    folder.mkdir(exist_ok=True)
    torch.save(images, folder / "images_best.pt")
    torch.save(labels, folder / "labels_best.pt")
    if rate is not None:
        torch.save(rate, folder / "lr_best.pt")
    return folder


def write_pictures(folder: Path, pixels: Tensor, labels: Tensor, names: list[str]) -> Path:
    """Grey or colour pictures, uint8 [N, channels, H, W], by class."""
    for i, (image, label) in enumerate(zip(pixels, labels.tolist(), strict=True)):
        (folder / names[label]).mkdir(parents=True, exist_ok=True)
        array = image[0] if len(image) == 1 else image.permute(1, 2, 0).contiguous()
        Image.fromarray(array.numpy()).save(folder / names[label] / f"{i:03d}.png")
    return folder
