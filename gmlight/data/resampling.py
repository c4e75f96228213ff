"""Bilinear resampling of images at the points of a grid."""

from torch import Tensor
from torch.nn.functional import grid_sample


def resample(images: Tensor, grid: Tensor) -> Tensor:
    """Interpolates images bilinearly at the points of a grid; points outside of the image are zero.

    Args:
        images: [N, channels, H, W].
        grid: x and y of each point, -1 and 1 being the outer edges of the image, [N, H', W', 2].

    Returns:
        [N, channels, H', W'].
    """
    if images.is_cuda and images.requires_grad:
        return by_corners(images, grid)  # torch's own gradient adds in any order on a GPU
    return grid_sample(images, grid, align_corners=False)


def by_corners(images: Tensor, grid: Tensor) -> Tensor:
    """Computes `resample` from the four pixels around each point; its gradient can be deterministic."""
    channels, height, width = images.shape[1:]
    x = ((grid[..., 0] + 1) * width - 1) / 2  # [N, H', W']
    y = ((grid[..., 1] + 1) * height - 1) / 2
    flat = images.flatten(2)  # [N, channels, H * W]
    result = flat.new_zeros(len(images), channels, x[0].numel())
    for down in (0, 1):
        for right in (0, 1):
            column, row = x.floor() + right, y.floor() + down
            weight = (1 - (x - column).abs()) * (1 - (y - row).abs())
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            pixel = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
            index = pixel.long().flatten(1).unsqueeze(1).expand(-1, channels, -1)
            result = result + flat.gather(2, index) * (weight * inside).flatten(1).unsqueeze(1)
    return result.unflatten(2, grid.shape[1:3])
