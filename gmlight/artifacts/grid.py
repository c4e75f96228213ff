"""Grids of images, as a person looks at them."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gmlight.runtime.atomic import atomic_write

MIN_CELL = 48  # pixels: small images are enlarged by a whole factor to at least this
GAP = 4
INK, PAPER = (40, 40, 40), (255, 255, 255)


def save_grid(
    path: Path,
    images: Tensor,
    labels: Tensor,
    classes: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
) -> Path:
    """Writes what `grid` draws as a PNG."""
    sheet = grid(images, labels, classes, mean, std)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        sheet.save(file, "PNG")
    return path


def grid(
    images: Tensor, labels: Tensor, classes: Sequence[str], mean: Sequence[float], std: Sequence[float]
) -> Image.Image:
    """A row for each class, its name before it; pixels outside 0..1 are clipped.

    Args:
        images: normalised, [N, channels, H, W]. labels: [N].
    """
    shape = (-1, 1, 1)
    pixels = images.detach().float().cpu() * torch.tensor(std).view(shape) + torch.tensor(mean).view(shape)
    pixels = (
        (pixels.clamp(0, 1) * 255).round().byte().expand(-1, 3, -1, -1).permute(0, 2, 3, 1)
    )  # [N, H, W, 3]
    rows = [pixels[labels.cpu() == c] for c in range(len(classes))]

    factor = -(-MIN_CELL // images.shape[-1])
    height, width = factor * images.shape[-2], factor * images.shape[-1]
    font = ImageFont.load_default(size=min(height // 3, 20))
    margin = 2 * GAP + max(int(font.getlength(name)) for name in classes) + GAP
    columns = max(map(len, rows))
    sheet = Image.new("RGB", (margin + columns * (width + GAP), GAP + len(rows) * (height + GAP)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for c, row in enumerate(rows):
        top = GAP + c * (height + GAP)
        draw.text((margin - 2 * GAP, top + height // 2), classes[c], fill=INK, font=font, anchor="rm")
        for i, image in enumerate(row):
            cell = Image.fromarray(image.numpy()).resize((width, height), Image.Resampling.NEAREST)
            sheet.paste(cell, (margin + i * (width + GAP), top))
    return sheet
