"""Draws pictures of labelled images, one row per class."""

from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gmlight.data.images import DatasetInfo, LabelledImages
from gmlight.errors import one_line
from gmlight.runtime.atomic import atomic_write

MIN_CELL = 48  # pixels; smaller images are enlarged by a whole factor to at least this width
GAP = 4  # pixels
INK, PAPER = (40, 40, 40), (255, 255, 255)


def save_grid(path: Path, images: LabelledImages, info: DatasetInfo) -> Path:
    """Draws the images with `draw_grid` and writes a PNG file; creates missing folders.

    Returns:
        The path.
    """
    sheet = draw_grid(images, info)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        sheet.save(file, "PNG")
    return path


def draw_grid(images: LabelledImages, info: DatasetInfo) -> Image.Image:
    """Draws one row of images per class, with the class name; clips pixels to 0..1.

    Args:
        images: normalised as `info` says.
        info: of the images' dataset.
    """
    pixels = _colours(images.images, info)
    rows = [pixels[images.labels.cpu() == c] for c in range(len(info.classes))]
    factor = -(-MIN_CELL // pixels.shape[2])
    height, width = factor * pixels.shape[1], factor * pixels.shape[2]
    font = ImageFont.load_default(size=min(height // 3, 20))
    names = [one_line(name) for name in info.classes]
    margin = 2 * GAP + max(int(font.getlength(name)) for name in names) + GAP
    columns = max(map(len, rows))
    sheet = Image.new("RGB", (margin + columns * (width + GAP), GAP + len(rows) * (height + GAP)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for c, row in enumerate(rows):
        top = GAP + c * (height + GAP)
        draw.text((margin - 2 * GAP, top + height // 2), names[c], fill=INK, font=font, anchor="rm")
        for i, image in enumerate(row):
            cell = Image.fromarray(image.numpy()).resize((width, height), Image.Resampling.NEAREST)
            sheet.paste(cell, (margin + i * (width + GAP), top))
    return sheet


def _colours(images: Tensor, info: DatasetInfo) -> Tensor:
    # [N, channels, H, W] -> uint8 [N, H, W, 3].
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (info.mean, info.std))
    pixels = images.detach().float().cpu() * std + mean
    return (pixels.clamp(0, 1) * 255).round().byte().expand(-1, 3, -1, -1).permute(0, 2, 3, 1)
