"""Pictures in files, as one sees them: the same for training and for classifying."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from model.errors import DataError

__all__ = ["SUFFIXES", "as_seen", "open_picture", "resized"]

SUFFIXES: Final = frozenset(
    ".avif .bmp .gif .jfif .jpe .jpeg .jpg .pbm .pgm .png .pnm .ppm .tga .tif .tiff .webp".split()
)
"""Files taken for pictures."""

_MARGIN: Final = 4


def open_picture(path: Path, side: int | None = None) -> Image.Image:
    """A file's picture, `as_seen`.

    Parameters
    ----------
    path : Path
    side : int, optional
        Pixels a side that it will be shrunk to: a photo is then decoded at a fraction of its size,
        which is several times as fast, but never at less than four times that side.

    Raises
    ------
    DataError
        If it cannot be read: the text is the path, a colon, and the reason.
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
    except UnidentifiedImageError:
        raise DataError(f"{path}: this is no picture") from None
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except Image.DecompressionBombError:
        raise DataError(f"{path}: the picture is too large") from None
    except OSError as error:
        reason = error.strerror or "the picture is damaged"
        raise DataError(f"{path}: {reason}") from error
    except (ValueError, SyntaxError, EOFError, MemoryError) as error:
        raise DataError(f"{path}: the picture is damaged") from error


def as_seen(picture: Image.Image) -> Image.Image:
    """A picture turned as the camera says, in 8 bits, on white where it is transparent.

    Of a moving picture, the first. Its mode is L, RGB, or another one without transparency that
    converts to both.
    """
    picture = ImageOps.exif_transpose(picture) or picture
    if picture.mode.startswith(("I", "F")):
        # 16 bits: keep the upper half, as everything else does with it.
        pixels = np.nan_to_num(np.asarray(picture, np.float64))
        scale = 255 / 65535 if pixels.max(initial=0) > 255 else 1
        picture = Image.fromarray(np.clip(pixels * scale, 0, 255).round().astype(np.uint8))
    if "A" in picture.getbands() or "transparency" in picture.info:
        above = picture.convert("RGBA")
        white = Image.new("RGBA", above.size, "white")
        picture = Image.alpha_composite(white, above).convert("RGB")
    return picture


def resized(picture: Image.Image, mode: str, width: int, height: int) -> np.ndarray:
    """Pixels of a picture in another mode and size.

    With antialiasing: where it shrinks, every pixel is an average of all that it covers.

    Parameters
    ----------
    picture : Image
        As `as_seen` gives it.
    mode : {"L", "RGB"}
    width, height : int

    Returns
    -------
    ndarray of uint8, shape (height, width) or (height, width, 3)
    """
    picture = picture.convert(mode)
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture, np.uint8)
