"""Reads one picture file as pixels, whatever format the installed Pillow opens."""

import io
import os
import stat
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import torch
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError
from torch import Tensor

from gmlight.data.names import UNDECODED, has_picture_suffix
from gmlight.errors import ConfigError

# How to turn a picture upright, by its EXIF orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION, _BITS, _SAMPLES, _PHOTOMETRIC = 274, 258, 277, 262  # tags of EXIF and TIFF
_WHITE_IS_ZERO = 0  # a value of _PHOTOMETRIC
_UNKNOWN = "no format that Pillow opens here"


@dataclass(frozen=True)
class PictureForm:
    """The form that pictures of any kind are brought into.

    Args:
        size: (H, W).
        channels: 1 (grey) or 3 (colour).
        fit: `squash` to the size; `crop` to its aspect ratio from the centre; or `pad` to it.
        background: colour under transparent pixels and of the padding, as Pillow names colours.

    Raises:
        ConfigError: the fit or the colour is unknown.
    """

    size: tuple[int, int]
    channels: int
    fit: str = "squash"
    background: str = "white"

    def __post_init__(self) -> None:
        if self.fit not in ("squash", "crop", "pad"):
            raise ConfigError(f"dataset.fit={self.fit}: must be squash, crop or pad")
        try:
            ImageColor.getrgb(self.background)
        except (ValueError, AttributeError, TypeError):
            raise ConfigError(
                f"dataset.background={self.background}: must be a colour such as white or '#8090a0'"
            ) from None


def read_picture(path: str, form: PictureForm) -> Tensor | None:
    """Reads the first picture of a file, upright: uint8 [channels, H, W]; None if the file is no picture.

    Raises:
        Exception: of any type: the file looks like a picture but cannot be read.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError("not a file")
    with open(path, "rb") as file:  # by its name, Pillow misreads some turned TIFF files
        try:
            picture = _open(file)
        except Image.DecompressionBombError:
            raise
        except Exception as error:  # a few formats raise their own on other files that begin like them
            if not has_picture_suffix(path):
                return None
            if isinstance(error, UnidentifiedImageError):
                raise OSError(_UNKNOWN if status.st_size else "empty") from None
            raise
        return picture_pixels(picture, form)


def decode_picture(content: bytes, form: PictureForm) -> Tensor:
    """Reads the first picture in the content of a file, upright: uint8 [channels, H, W].

    Raises:
        Exception: of any type: it cannot be read.
    """
    try:
        return picture_pixels(_open(io.BytesIO(content)), form)
    except UnidentifiedImageError:
        raise OSError(_UNKNOWN if content else "empty") from None


def _open(file: IO[bytes]) -> Image.Image:
    Image.init()
    return Image.open(file, formats=[name for name in Image.OPEN if name not in UNDECODED])


def picture_pixels(picture: Image.Image, form: PictureForm) -> Tensor:
    """Converts a picture of any mode to pixels, upright: uint8 [channels, H, W].

    Raises:
        Exception: of any type: it cannot be decoded.
    """
    picture.load()
    flat = flatten(picture, "L" if form.channels == 1 else "RGB", form.background)
    turn = _TURNS.get(_orientation(picture))
    return pixels(_fitted(flat if turn is None else flat.transpose(turn), form))


def flatten(picture: Image.Image, mode: str, background: str = "white") -> Image.Image:
    """Converts a picture of any mode to grey or colour of 8 bits; composites transparency on the background.

    Args:
        picture: loaded.
        mode: `L` or `RGB`.
        background: a colour as Pillow names it.

    Raises:
        ValueError: the picture has more than 8 bits a channel in another form than 16-bit grey, or more than
            3 colour channels.
    """
    tags: Any = getattr(picture, "tag_v2", {})
    if picture.mode == "RGBX" or tags.get(_SAMPLES, 1) > len(picture.getbands()):
        raise ValueError(f"{tags.get(_SAMPLES, 4)} channels; only grey, colour and transparency can be read")
    if picture.mode.startswith(("I", "F")):
        picture = _from_16_bits(picture, tags)
    if picture.mode == "LAB":  # has no other conversion
        picture = picture.convert("RGB")
    if not picture.has_transparency_data:
        return picture.convert(mode)
    over = picture.convert("LA").convert("RGBA") if picture.mode == "La" else picture.convert("RGBA")
    under = Image.new("RGBA", over.size, background)
    return Image.alpha_composite(under, over).convert(mode)


def _from_16_bits(picture: Image.Image, tags: Any) -> Image.Image:
    # Returns mode L, or LA if one grey value counts as transparent.
    # Pillow gives 16-bit grey as I;16, or as I if it is from a PGM file or an older Pillow's PNG.
    whole = picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in ("PNG", "PPM"))
    if not whole:
        raise ValueError(f"mode {picture.mode}, more than 8 bits a channel; convert it to 8 or 16 bits")
    bits = tags.get(_BITS, 16)
    most = 2 ** (bits if isinstance(bits, int) else bits[0]) - 1
    values = np.asarray(picture).astype(np.float64)
    # Pillow inverts such pictures of 8 bits alone.
    shown = most - values if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else values
    grey = Image.fromarray((shown * (255 / most)).round().clip(0, 255).astype(np.uint8))
    transparent = picture.info.get("transparency")
    if not isinstance(transparent, int):
        return grey
    return Image.merge(
        "LA", (grey, Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    )


def _orientation(picture: Image.Image) -> Any:
    # EXIF data are often broken in places that do not matter here.
    try:
        value = picture.getexif().get(_ORIENTATION)
        return value if isinstance(value, int) else None
    except Exception:
        return None


def _fitted(picture: Image.Image, form: PictureForm) -> Image.Image:
    height, width = form.size
    if picture.size == (width, height):
        return picture
    if form.fit == "crop":
        return ImageOps.fit(picture, (width, height), Image.Resampling.BICUBIC)
    if form.fit == "squash":
        return picture.resize((width, height), Image.Resampling.BICUBIC)
    scale = min(width / picture.width, height / picture.height)
    inner = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    padded = Image.new(picture.mode, (width, height), form.background)
    padded.paste(
        picture.resize(inner, Image.Resampling.BICUBIC), ((width - inner[0]) // 2, (height - inner[1]) // 2)
    )
    return padded


def pixels(picture: Image.Image) -> Tensor:
    """Converts a grey or RGB picture to uint8 [channels, H, W]."""
    values = torch.from_numpy(np.array(picture))  # [H, W] or [H, W, channels]
    return values.unsqueeze(0) if values.ndim == 2 else values.permute(2, 0, 1)
