"""Pictures: any file that Pillow can read, as a model's input."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.datasets.pictures import as_seen, open_picture, resized
from model.errors import DataError, reason

from .errors import PictureError
from .model_card import ModelCard

__all__ = ["read_picture", "to_input"]

_DIGITS = tuple("0123456789")


def read_picture(
    source: str | os.PathLike[str] | Image.Image | npt.NDArray[Any], side: int | None = None
) -> Image.Image:
    """A picture as one sees it: turned as the camera says, on white where it is transparent.

    Parameters
    ----------
    source : path, Pillow image, or ndarray of uint8
    side : int, optional
        Pixels a side that matter; see :func:`model.datasets.pictures.open_picture`.

    Raises
    ------
    PictureError
        If there is no such file, it is no picture, or an array's shape or type is none of pixels.
    """
    if isinstance(source, np.ndarray):
        source = _from_array(source)
    try:
        if isinstance(source, Image.Image):
            return as_seen(source)
        return open_picture(Path(source), side)
    except DataError as error:
        raise PictureError(str(error)) from error
    except Exception as error:  # Pillow decodes a file that it has open when it is asked for pixels
        raise PictureError(f"the picture cannot be read ({reason(error)})") from error


def _from_array(pixels: npt.NDArray[Any]) -> Image.Image:
    shape = "x".join(map(str, pixels.shape))
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or not pixels.size:
        raise PictureError(
            f"pixels must be uint8 in 2 or 3 dimensions, not {pixels.dtype} of {shape or 'none'}"
        )
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return Image.fromarray(pixels.reshape(pixels.shape[:2]))
    if pixels.shape[2] in (2, 3, 4):  # grey or colours, and with transparency
        return Image.fromarray(np.ascontiguousarray(pixels))
    first = (
        "; channels come first in it: transpose(1, 2, 0)" if pixels.shape[0] in (1, 3, 4) else ""
    )
    raise PictureError(f"pixels of {shape}: height, width and 1 to 4 channels are needed{first}")


def to_input(
    source: str | os.PathLike[str] | Image.Image | npt.NDArray[Any],
    card: ModelCard,
    invert: bool | None = None,
) -> npt.NDArray[np.int8] | npt.NDArray[np.uint8]:
    """A picture as the model's input.

    Parameters
    ----------
    source : path, Pillow image, or ndarray of uint8
    card : ModelCard
        Its input says height, width and channels; one is grey, three are colours.
    invert : bool or None
        Whether to exchange bright and dark. None: if the model reads digits, which it learnt bright
        on dark, and the picture's border is bright.

    Returns
    -------
    ndarray of int8 or uint8, of the model's input shape
        Pixels less 128; pixels as they are where the model takes uint8.

    Raises
    ------
    PictureError
        If the picture cannot be read, or the model takes no pictures.
    """
    height, width, channels = picture_shape(card)
    mode = "L" if channels == 1 else "RGB"
    picture = read_picture(source, max(width, height))
    try:
        pixels = resized(picture, mode, width, height)
    except DataError as error:
        named = f"{source}: " if isinstance(source, (str, os.PathLike)) else ""
        raise PictureError(f"{named}{error}") from error
    if invert is None:
        invert = channels == 1 and card.labels == _DIGITS and _has_bright_border(pixels)
    if invert:
        pixels = 255 - pixels
    if card.input.before.type == "uint8":
        return pixels.reshape(card.input.before.shape)
    return (pixels ^ np.uint8(0x80)).view(np.int8).reshape(card.input.before.shape)


def picture_shape(card: ModelCard) -> tuple[int, int, int]:
    """Height, width and channels of the pictures that a model takes.

    Raises
    ------
    PictureError
        If it takes none.
    """
    shape = card.input.before.shape
    if len(shape) == 2:
        return shape[0], shape[1], 1
    if len(shape) == 3 and shape[2] in (1, 3):
        return shape[0], shape[1], shape[2]
    text = "x".join(map(str, shape))
    raise PictureError(f"the model {card.name} takes an input of {text}: that is no picture")


def _has_bright_border(pixels: npt.NDArray[np.uint8]) -> bool:
    border = np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])
    return bool(np.median(border) > 127)
