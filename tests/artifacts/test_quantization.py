"""Codes of few bits against their definition, and their bytes."""

import numpy as np
import pytest
import torch

from gmlight.artifacts.quantization import PACKED_BITS, dequantize, pack, quantize, unpack


@pytest.mark.parametrize("bits", PACKED_BITS)
def test_values_move_by_half_a_step_at_most_and_the_ends_stay(bits: int) -> None:
    images = torch.randn(7, 3, 5, 4) * torch.tensor([1.0, 5.0, 0.1]).view(3, 1, 1)
    quantized = quantize(images, bits)
    moved = (dequantize(quantized) - images).abs()
    for channel in range(3):
        values = images[:, channel]
        step = float(values.max() - values.min()) / (2**bits - 1)
        assert quantized.scale[channel] == pytest.approx(step)
        assert moved[:, channel].max() <= step / 2 * 1.001
        assert moved[:, channel].max() > step / 4
        assert moved[:, channel].flatten()[values.flatten().argmin()] < 1e-5
        assert moved[:, channel].flatten()[values.flatten().argmax()] < 1e-5
    assert quantized.codes.max() == 2**bits - 1
    assert quantized.codes.min() == 0


@pytest.mark.parametrize("bits", PACKED_BITS)
def test_a_channel_of_one_value_keeps_it(bits: int) -> None:
    images = torch.full((2, 1, 3, 3), -1.25)
    torch.testing.assert_close(dequantize(quantize(images, bits)), images)


@pytest.mark.parametrize("bits", PACKED_BITS)
@pytest.mark.parametrize("number", [1, 2, 3, 5, 8, 31])
def test_codes_are_packed_highest_bit_first(bits: int, number: int) -> None:
    codes = np.random.default_rng(number).integers(0, 2**bits, number).astype(np.uint8)
    text = "".join(f"{code:0{bits}b}" for code in codes)
    text += "0" * (-len(text) % 8)
    packed = pack(codes, bits)
    assert packed.tolist() == [int(text[i : i + 8], 2) for i in range(0, len(text), 8)]
    assert len(packed) == -(-number * bits // 8)
    assert unpack(packed, bits, number).tolist() == codes.tolist()
