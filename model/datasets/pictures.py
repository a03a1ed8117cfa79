"""Picture files as pixels, in the same way for training and for classifying.

The kind of a picture, never its content, decides how more than 8 bits a value become 8, so a dark
picture stays dark:

- 16 bits: ``value * 255 / 65535``, rounded; 12 bits, in a TIFF file: ``value * 255 / 4095``.
- 32 bits and floating point: refused, because no file says which value is white.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from model.errors import DataError, reason
from model.file_kinds import file_kind

__all__ = ["SUFFIXES", "as_seen", "open_picture", "resized"]

SUFFIXES: Final = frozenset(
    ".avif .bmp .gif .heic .heif .jfif .jpe .jpeg .jpg .pbm .pgm .png .pnm .ppm .tga .tif .tiff "
    ".webp".split()
)
"""Names of picture files; one that cannot be read is reported, not left out."""

_WIDE: Final = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
"""Pillow's modes of 16 bits."""
_WIDE_AS_INTEGERS: Final = frozenset({"PNG", "PPM"})
"""Formats of at most 16 bits, which Pillow may give in mode I, of 32 bits: its PNG reader did."""
_BITS_PER_SAMPLE: Final = 258
"""TIFF's tag."""

_MARGIN: Final = 4


def open_picture(path: Path, side: int | None = None) -> Image.Image:
    """Open a file's picture, `as_seen`.

    Parameters
    ----------
    path : Path
    side : int, optional
        Pixels a side that it will be shrunk to: a photo is then decoded at a fraction of its size,
        which is several times as fast, but never at less than four times that side.

    Raises
    ------
    DataError
        If it cannot be read. The text is the path, a colon, and the reason.
    """
    try:
        # Pillow warns of odd metadata and of large pictures; neither matters here.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as picture:
                if side is not None:
                    picture.draft(None, (_MARGIN * side, _MARGIN * side))
                picture.load()
                return as_seen(picture)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except UnidentifiedImageError:
        kind = file_kind(path)
        it_is = "" if kind is None else f": it is {kind}"
        raise DataError(f"{path}: this is no picture that can be read{it_is}") from None
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except Image.DecompressionBombError:
        raise DataError(f"{path}: the picture is too large") from None
    except Exception as error:  # what Pillow's decoders raise is in no list
        if isinstance(error, OSError) and error.strerror:
            raise DataError(f"{path}: {error.strerror}") from error
        raise DataError(
            f"{path}: the picture is damaged, or of a kind that cannot be read ({reason(error)})"
        ) from error


def as_seen(picture: Image.Image) -> Image.Image:
    """A picture turned as the camera says, in 8 bits, on white where it is transparent.

    Of a moving picture, the first. Its mode is L, RGB, or another one without transparency that
    converts to both.

    Raises
    ------
    DataError
        If its values have 32 bits or are floating-point. The text has the reason only.
    """
    white = _white(picture)
    transparent = picture.info.get("transparency")
    picture = ImageOps.exif_transpose(picture) or picture
    if white is not None:
        values = np.asarray(picture)
        pixels = (np.clip(values, 0, white) * (255 / white)).round().astype(np.uint8)
        if isinstance(transparent, int):
            pixels[values == transparent] = 255
        return Image.fromarray(pixels)
    if "A" in picture.getbands() or "transparency" in picture.info:
        above = picture.convert("RGBA")
        below = Image.new("RGBA", above.size, "white")
        picture = Image.alpha_composite(below, above).convert("RGB")
    return picture


def _white(picture: Image.Image) -> int | None:
    """The value that stands for white; None for a picture of 8 bits."""
    if not picture.mode.startswith(("I", "F")):
        return None
    if picture.mode in _WIDE or (picture.mode == "I" and picture.format in _WIDE_AS_INTEGERS):
        bits = getattr(picture, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))
        return 4095 if bits == (12,) else 65535
    kind = "floating-point values" if picture.mode == "F" else "values of 32 bits"
    raise DataError(
        f"the picture has {kind}, of which nothing says which one is white; save it with 8 or 16 "
        "bits"
    )


def resized(picture: Image.Image, mode: str, width: int, height: int) -> np.ndarray:
    """Convert a picture to another mode and size.

    With antialiasing: where it shrinks, every pixel is an average of all that it covers.

    Parameters
    ----------
    picture : Image
        A result of `as_seen`.
    mode : {"L", "RGB"}
    width, height : int

    Returns
    -------
    ndarray of uint8, shape (height, width) or (height, width, 3)

    Raises
    ------
    DataError
        If Pillow cannot convert it: the text has the reason only.
    """
    try:
        picture = picture.convert(mode)
    except Exception as error:  # of the modes that Pillow has, some convert to no other
        raise DataError(f"a picture of mode {picture.mode} cannot be used") from error
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture, np.uint8)
