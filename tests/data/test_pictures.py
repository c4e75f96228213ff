"""Reading one picture file: formats, modes, transparency, orientation, bits and shapes, with known pixels."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, features

from gmlight.data.pictures import PictureForm, flatten, read_picture
from gmlight.errors import ConfigError

GREY, COLOUR = PictureForm((2, 2), 1), PictureForm((2, 2), 3)
RED, HALF, CLEAR = (255, 0, 0, 255), (0, 0, 255, 128), (9, 99, 199, 0)


def saved(picture: Image.Image, path: Path, **options: object) -> str:
    picture.save(path, **options)
    return str(path)


def read(path: str | Path, form: PictureForm = COLOUR) -> list[list[list[int]]]:
    pixels = read_picture(str(path), form)
    assert pixels is not None
    assert pixels.dtype == torch.uint8
    return pixels.tolist()


def colour(path: str | Path, form: PictureForm = COLOUR) -> list[int]:
    """Returns the colour of the pixel at the top left."""
    return [channel[0][0] for channel in read(path, form)]


FORMATS = [
    "PNG",
    "JPEG",
    "GIF",
    "BMP",
    "WEBP",
    "TIFF",
    "PPM",
    "TGA",
    "ICO",
    "PCX",
    "JPEG2000",
    "AVIF",
    "SGI",
    "DDS",
]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("suffix", [".jpg", ".bin", "", ".TXT"])
def test_what_pillow_opens_is_read_whatever_its_suffix(name: str, suffix: str, tmp_path: Path) -> None:
    if name == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    path = tmp_path / f"x{suffix}"
    Image.new("RGB", (16, 16), (200, 40, 90)).save(path, format=name)
    assert colour(path) == pytest.approx([200, 40, 90], abs=8)


def picture(mode: str, *pixels: object) -> Image.Image:
    made = Image.new(mode, (2, 2))
    made.putdata([pixels[i % len(pixels)] for i in range(4)])
    return made


def palette(**transparency: object) -> Image.Image:
    made = Image.new("P", (2, 2), 1)
    made.putpalette([255, 0, 0, 0, 0, 255])
    made.putpixel((1, 1), 0)
    made.info |= transparency
    return made


def blue_clear(path: Path) -> str:
    return saved(palette(), path.with_suffix(".png"), transparency=1)


@pytest.mark.parametrize(
    ("made", "suffix", "expected"),
    [
        (picture("RGBA", CLEAR), ".png", [255, 255, 255]),
        (picture("RGBA", HALF), ".png", [127, 127, 255]),
        (picture("RGBA", RED), ".png", [255, 0, 0]),
        (picture("LA", (0, 0)), ".png", [255, 255, 255]),
        (picture("LA", (0, 255)), ".png", [0, 0, 0]),
        (picture("LA", (0, 51)), ".png", [204, 204, 204]),
        (picture("RGBA", CLEAR), ".webp", [255, 255, 255]),
        (picture("RGBA", CLEAR), ".tif", [255, 255, 255]),
        (picture("RGBA", CLEAR), ".gif", [255, 255, 255]),
        (picture("1", 255), ".png", [255, 255, 255]),
        (picture("CMYK", (0, 255, 255, 0)), ".tif", [255, 0, 0]),
        (palette(), ".png", [0, 0, 255]),
        (palette(transparency=1), ".gif", [255, 255, 255]),
        (palette(transparency=bytes([255, 51])), ".png", [204, 204, 255]),
    ],
)
def test_transparency_is_composited_on_white(
    made: Image.Image, suffix: str, expected: list[int], tmp_path: Path
) -> None:
    options = {"lossless": True, "exact": True} if suffix == ".webp" else {}
    options |= {"transparency": made.info["transparency"]} if "transparency" in made.info else {}
    assert colour(saved(made, tmp_path / f"x{suffix}", **options)) == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_transparent_colour_is_composited_too(mode: str, tmp_path: Path) -> None:
    key = 7 if mode == "L" else (7, 8, 9)
    path = saved(picture(mode, key, 0 if mode == "L" else (0, 0, 0)), tmp_path / "x.png", transparency=key)
    assert [channel[0] for channel in read(path)] == [[255, 0]] * 3
    assert read(path, GREY)[0][0] == [255, 0]


def test_the_background_has_a_key(tmp_path: Path) -> None:
    path = saved(picture("RGBA", CLEAR), tmp_path / "x.png")
    assert colour(path, PictureForm((2, 2), 3, background="#102030")) == [16, 32, 48]
    assert colour(path, PictureForm((2, 2), 1, background="black")) == [0]
    with pytest.raises(ConfigError, match=r"dataset\.background=whyte: must be a colour such as white"):
        PictureForm((2, 2), 3, background="whyte")


def test_colours_under_transparency_do_not_bleed_when_resized(tmp_path: Path) -> None:
    made = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert set(np.unique(read(saved(made, tmp_path / "x.png")))) == {255}


@pytest.mark.parametrize("mode", ["La", "RGBa", "PA"])
def test_premultiplied_and_palette_alpha(mode: str) -> None:
    base = picture("LA", (0, 0)) if mode == "La" else picture("RGBA", CLEAR)
    made = base.convert("RGBA").convert("P").convert("PA") if mode == "PA" else base.convert(mode)
    if mode == "PA":
        made.putalpha(0)
    assert flatten(made, "RGB").getpixel((0, 0)) == (255, 255, 255)


# A picture of 3x2 with the numbers 0 to 5, and what each orientation makes of it (EXIF 2.3, section 4.6.4).
UPRIGHT = {
    1: [[0, 1, 2], [3, 4, 5]],
    2: [[2, 1, 0], [5, 4, 3]],
    3: [[5, 4, 3], [2, 1, 0]],
    4: [[3, 4, 5], [0, 1, 2]],
    5: [[0, 3], [1, 4], [2, 5]],
    6: [[3, 0], [4, 1], [5, 2]],
    7: [[5, 2], [4, 1], [3, 0]],
    8: [[2, 5], [1, 4], [0, 3]],
}


def numbered() -> Image.Image:
    return Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("orientation", [0, *UPRIGHT, 9])
def test_orientation_is_honoured(orientation: int, suffix: str, tmp_path: Path) -> None:
    expected = np.array(UPRIGHT.get(orientation, UPRIGHT[1])) * 40
    exif = Image.Exif()
    exif[274] = orientation
    path = saved(numbered(), tmp_path / f"x{suffix}", exif=exif)
    assert read(path, PictureForm(expected.shape, 1)) == [expected.tolist()]


def exif_bytes(*entries: tuple[int, int, int, int]) -> bytes:
    """Writes EXIF by hand: (tag, type, count, value or offset), which need not make sense."""
    content = struct.pack("<2sHIH", b"II", 42, 8, len(entries))
    return b"Exif\0\0" + content + b"".join(struct.pack("<HHII", *entry) for entry in entries) + b"\0" * 4


BROKEN = {
    "offset beyond the end": exif_bytes((274, 3, 1, 6), (282, 5, 1, 2**30)),
    "unknown type": exif_bytes((274, 3, 1, 6), (40091, 99, 4, 5)),
    "huge count": exif_bytes((274, 3, 1, 6), (40092, 1, 2**31, 5)),
    "sub-directory nowhere": exif_bytes((274, 3, 1, 6), (34665, 4, 1, 2**31)),
    "more entries than there are": exif_bytes((274, 3, 1, 6))[:14]
    + b"\xff\x00"
    + exif_bytes((274, 3, 1, 6))[16:],
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("exif", BROKEN.values(), ids=BROKEN)
def test_orientation_is_read_from_broken_exif(exif: bytes, tmp_path: Path) -> None:
    wide = Image.new("L", (16, 8))
    wide.paste(255, (0, 0, 8, 8))  # the left half; turned by 90 degrees it is the upper half
    path = saved(wide, tmp_path / "x.jpg", exif=exif, quality=95)
    assert (
        np.array(read(path, PictureForm((16, 8), 1))).mean((0, 2)).round(-1).tolist() == [260] * 8 + [0] * 8
    )


@pytest.mark.parametrize(
    "exif",
    [b"Exif\0\0", b"Exif\0\0II", b"nonsense", exif_bytes((274, 2, 4, 0x363636)), exif_bytes((274, 5, 1, 8))],
)
def test_unreadable_exif_leaves_a_picture_as_it_is(exif: bytes, tmp_path: Path) -> None:
    path = saved(Image.new("L", (4, 2), 80), tmp_path / "x.jpg", exif=exif)
    assert read(path, PictureForm((2, 4), 1)) == [[[80] * 4] * 2]


def grey16(path: Path, values: list[int], **options: object) -> str:
    array = np.array(values, dtype=np.uint16).reshape(2, 2)
    return saved(Image.fromarray(array), path, **options)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
@pytest.mark.parametrize("form", [GREY, COLOUR])
def test_16_bit_grey_has_its_full_range(suffix: str, form: PictureForm, tmp_path: Path) -> None:
    path = grey16(tmp_path / f"x{suffix}", [0, 257, 51400, 65535])
    assert read(path, form) == [[[0, 1], [200, 255]]] * form.channels


def test_16_bit_grey_with_a_transparent_value_lies_on_the_background(tmp_path: Path) -> None:
    path = grey16(tmp_path / "x.png", [0, 257, 51400, 65535], transparency=51400)
    assert read(path, GREY) == [[[0, 1], [255, 255]]]
    assert read(path, PictureForm((2, 2), 3, background="#102030"))[2] == [[0, 1], [48, 255]]


def test_16_bit_grey_of_other_byte_order(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    header = struct.pack(">2sHIH", b"MM", 42, 8, 8)
    tags = [(256, 2), (257, 2), (258, 16), (259, 1), (262, 1), (273, 110), (278, 2), (279, 8)]
    entries = b"".join(struct.pack(">HHIHH", tag, 3, 1, value, 0) for tag, value in tags) + b"\0" * 4
    path.write_bytes(header + entries + struct.pack(">4H", 0, 257, 32896, 65535))
    assert read(path, GREY) == [[[0, 1], [128, 255]]]


@pytest.mark.parametrize(
    ("photometric", "expected"), [(1, [[0, 1], [128, 255]]), (0, [[255, 254], [127, 0]])]
)
def test_16_bit_grey_in_which_0_is_white_is_inverted(
    photometric: int, expected: list[list[int]], tmp_path: Path
) -> None:
    path = tmp_path / "x.tif"
    header = struct.pack("<2sHIH", b"II", 42, 8, 8)
    tags = [(256, 2), (257, 2), (258, 16), (259, 1), (262, photometric), (273, 110), (278, 2), (279, 8)]
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags) + b"\0" * 4
    path.write_bytes(header + entries + struct.pack("<4H", 0, 257, 32896, 65535))
    assert read(path, GREY) == [expected]


def test_colours_by_lightness_are_read_in_grey_and_in_colour(tmp_path: Path) -> None:
    path = saved(Image.new("LAB", (2, 2), (255, 128, 128)), tmp_path / "x.tif")  # white
    for form in (GREY, COLOUR):
        assert min(value for channel in read(path, form) for row in channel for value in row) >= 254


def tiff(path: Path, samples: int, extra: int, bits: int = 8) -> Path:
    """Writes a picture of 2x2 with any number of channels by hand."""
    tags = [
        (256, 3, 1, 2), (257, 3, 1, 2), (258, 3, samples, 150), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, 1, 200), (277, 3, 1, samples), (278, 3, 1, 2), (279, 4, 1, 4 * samples),
        (338, 3, extra, 180),
    ]  # fmt: skip
    content = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    for tag, kind, count, value in tags:
        value = 0 if tag == 338 and count <= 2 else value  # short values are in place: unspecified channels
        content += struct.pack("<HHII", tag, kind, count, value)
    content = content.ljust(150, b"\0") + struct.pack(f"<{samples}H", *[bits] * samples)
    path.write_bytes(content.ljust(200, b"\0") + bytes(range(4 * samples)))
    return path


@pytest.mark.parametrize(("samples", "extra"), [(4, 1), (5, 2), (6, 3)])
def test_more_than_three_channels_are_refused(samples: int, extra: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{samples} channels; only grey, colour and transparency"):
        read_picture(str(tiff(tmp_path / "x.tif", samples, extra)), COLOUR)


@pytest.mark.parametrize("array", [np.full((2, 2), 7, np.int32), np.full((2, 2), 0.5, np.float32)])
def test_32_bits_are_refused(array: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"mode [IF], more than 8 bits a channel; convert it to 8 or 16 bits"
    ):
        read_picture(saved(Image.fromarray(array), tmp_path / "x.tif"), COLOUR)


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"<html><body>404</body></html>", "no format that Pillow opens here"),
        (jpeg()[:100], "(?i)no format|truncated|broken"),
        (jpeg()[:900], "truncated"),
    ],
)
def test_what_has_an_images_suffix_must_be_readable(content: bytes, reason: str, tmp_path: Path) -> None:
    for name in ("x.jpg", "x.HEIC", "x.svg") if b"404" in content else ("x.jpg",):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(OSError, match=reason):
            read_picture(str(tmp_path / name), COLOUR)


OTHERS = {
    "readme": b"hello",
    "empty": b"",
    "labels.csv": b"P3 is the third patient, P5 the fifth",  # begins as a PPM file
    "x.mp4": b"\0\0\0\x18ftypmp42",
    "x.pdf": b"%PDF-1.4",
    "data.h5": b"\x89HDF\r\n\x1a\n",
    "clip.mpg": b"\0\0\1\xb3 and so on",
    "x.npy": b"\x93NUMPY\1\0",
    "x.html": b"<svg>",
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_files_are_no_pictures(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(OTHERS[name])
    assert read_picture(str(tmp_path / name), COLOUR) is None


def test_a_truncated_picture_without_a_suffix_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(jpeg()[:900])
    with pytest.raises(OSError, match="truncated"):
        read_picture(str(tmp_path / "x"), COLOUR)


def test_a_picture_of_absurd_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(Image.new("1", (100, 100)), tmp_path / "x.png")
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(Image.DecompressionBombError, match="exceeds limit"):
        read_picture(path, COLOUR)


def test_only_files_are_opened(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="not a file"):
        read_picture(str(tmp_path), COLOUR)


def test_the_first_frame_of_an_animation_is_read(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (2, 2), each) for each in ("red", "blue")]
    for suffix in (".gif", ".png", ".webp", ".tif"):
        path = saved(frames[0], tmp_path / f"x{suffix}", save_all=True, append_images=frames[1:])
        assert colour(path) == pytest.approx([255, 0, 0], abs=3)


def stripes() -> Image.Image:
    """Returns a picture of 8x4: two columns of black, four of 100, two of 200."""
    made = Image.new("L", (8, 4), 100)
    made.paste(0, (0, 0, 2, 4))
    made.paste(200, (6, 0, 8, 4))
    return made


@pytest.mark.parametrize(
    ("fit", "expected"),
    [
        ("squash", np.array(stripes().resize((4, 4), Image.Resampling.BICUBIC)).tolist()),
        ("crop", [[100] * 4] * 4),  # the middle four columns
        (
            "pad",
            [[255] * 4, *np.array(stripes().resize((4, 2), Image.Resampling.BICUBIC)).tolist(), [255] * 4],
        ),
    ],
)
def test_fit(fit: str, expected: list[list[int]], tmp_path: Path) -> None:
    path = saved(stripes(), tmp_path / "x.png")
    assert read(path, PictureForm((4, 4), 1, fit)) == [expected]
    turned = saved(stripes().transpose(Image.Transpose.TRANSPOSE), tmp_path / "y.png")
    assert read(turned, PictureForm((4, 4), 1, fit)) == [np.array(expected).T.tolist()]


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("size", [(1, 500), (500, 1), (1, 1), (3, 5)])
def test_every_shape_fits(fit: str, size: tuple[int, int], tmp_path: Path) -> None:
    path = saved(Image.new("RGB", size, (10, 20, 30)), tmp_path / "x.png")
    pixels = read_picture(path, PictureForm((6, 4), 3, fit, background="black"))
    assert pixels is not None
    assert pixels.shape == (3, 6, 4)
    assert pixels[:, 2:4, 1:3].amax((1, 2)).tolist() == [10, 20, 30]


def test_padding_has_the_colour_of_the_background(tmp_path: Path) -> None:
    path = saved(Image.new("RGB", (4, 2), (10, 20, 30)), tmp_path / "x.png")
    assert colour(path, PictureForm((4, 4), 3, "pad", "red")) == [255, 0, 0]
    assert colour(path, PictureForm((4, 4), 1, "pad", "red")) == [76]  # its luma


def test_an_unknown_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"dataset\.fit=zoom: must be squash, crop or pad"):
        PictureForm((2, 2), 3, "zoom")
