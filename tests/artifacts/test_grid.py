"""Picture grids: one row per class, correct colours."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from gmlight.artifacts.grid import GAP, MIN_CELL, draw_grid, save_grid
from gmlight.data.images import LabelledImages
from helpers.problems import named_classes


def test_grid(tmp_path: Path) -> None:
    grey, white, below = torch.zeros(3, 8, 8), torch.ones(3, 8, 8), torch.full((3, 8, 8), -9.0)
    images = torch.stack([grey, white, below, grey])
    path = save_grid(
        tmp_path / "new" / "grid.png",
        LabelledImages(images, torch.tensor([0, 0, 1, 1])),
        named_classes("cat", "dog", mean=[0.5] * 3, std=[0.5] * 3),
    )
    picture = np.asarray(Image.open(path))
    cell = MIN_CELL + GAP
    assert picture.shape[0] == GAP + 2 * cell
    middle = [GAP + MIN_CELL // 2, GAP + cell + MIN_CELL // 2]
    columns = [picture.shape[1] - 2 * cell + MIN_CELL // 2, picture.shape[1] - cell + MIN_CELL // 2]
    assert [[int(picture[y, x, 0]) for x in columns] for y in middle] == [[128, 255], [0, 128]]


def test_colours_are_the_pixels_before_normalisation() -> None:
    info = named_classes("cat", mean=[0.2, 0.4, 0.6], std=[0.5, 0.25, 0.125])
    images = torch.full((1, 3, 8, 8), 0.5)  # 0.2 + 0.25, 0.4 + 0.125, 0.6 + 0.0625
    sheet = draw_grid(LabelledImages(images, torch.tensor([0])), info)
    assert sheet.getpixel((sheet.width - GAP - 2, GAP + 2)) == (115, 134, 169)  # times 255, rounded


def test_images_are_enlarged_by_a_whole_factor() -> None:
    """To at least 48 pixels: 28 twice, 47 twice, 48 not at all."""
    for width, cell in ((28, 56), (47, 94), (48, 48), (100, 100)):
        images = LabelledImages(torch.zeros(2, 1, 8, width), torch.tensor([0, 0]))
        sheets = [
            draw_grid(LabelledImages(images.images[:n], images.labels[:n]), named_classes("a"))
            for n in (1, 2)
        ]
        assert sheets[1].width - sheets[0].width == cell + GAP
