"""Stores images in fewer bits: affine codes per channel, packed into bytes."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

PACKED_BITS = (4, 6, 8)  # of a code
BITS = (*PACKED_BITS, 16, 32)  # 16 and 32: floating point


class Quantized(NamedTuple):
    """Images as codes: a value is code * scale + offset of its channel.

    Args:
        codes: uint8 [N, channels, H, W], from 0 to 2^bits - 1.
        scale: float32 [channels].
        offset: float32 [channels].
    """

    codes: np.ndarray
    scale: np.ndarray
    offset: np.ndarray


def quantize(images: Tensor, bits: int) -> Quantized:
    """Rounds images to 2^bits values per channel, evenly spaced from its least to its greatest value.

    No value is clipped, and none moves by more than half of its channel's scale.

    Args:
        images: [N, channels, H, W].
        bits: of a code.
    """
    shape, most = (1, -1, 1, 1), 2**bits - 1
    by_channel = images.double().transpose(0, 1).flatten(1)
    offset, greatest = by_channel.min(1).values, by_channel.max(1).values
    scale = ((greatest - offset) / most).clamp(min=torch.finfo(torch.float32).tiny)
    codes = ((images.double() - offset.view(shape)) / scale.view(shape)).round().clamp(0, most)
    return Quantized(codes.byte().numpy(), scale.float().numpy(), offset.float().numpy())


def dequantize(quantized: Quantized) -> Tensor:
    """Returns the images of codes, float32 [N, channels, H, W]."""
    shape = (1, -1, 1, 1)
    values = quantized.codes.astype(np.float32) * quantized.scale.reshape(shape)
    return torch.from_numpy(values + quantized.offset.reshape(shape))


def pack(codes: np.ndarray, bits: int) -> np.ndarray:
    """Packs codes one after another into bytes, highest bit first; the last byte is filled with zeros.

    Args:
        codes: uint8, of any shape, below 2^bits.
        bits: of a code.

    Returns:
        uint8 [ceil(number of codes * bits / 8)].
    """
    return np.packbits(np.unpackbits(codes.reshape(-1, 1), axis=1)[:, 8 - bits :])


def unpack(packed: np.ndarray, bits: int, number: int) -> np.ndarray:
    """Unpacks what `pack` packed.

    Args:
        packed: uint8.
        bits: of a code.
        number: of codes.

    Returns:
        uint8 [number].
    """
    found = np.unpackbits(packed)[: number * bits].reshape(number, bits)
    return np.packbits(np.pad(found, ((0, 0), (8 - bits, 0))), axis=1).reshape(-1)
