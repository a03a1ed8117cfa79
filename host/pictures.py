"""Pictures: any file that Pillow can read, as a model's input."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.datasets.pictures import as_seen, open_picture, resized
from model.errors import DataError

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
        If there is no such file, or it is no picture.
    """
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim not in (2, 3):
            raise PictureError(f"pixels must be uint8 in 2 or 3 dimensions, not {source.dtype}")
        grey = source.ndim == 3 and source.shape[2] == 1
        return Image.fromarray(source[:, :, 0] if grey else source)
    if isinstance(source, Image.Image):
        return as_seen(source)
    try:
        return open_picture(Path(source), side)
    except DataError as error:
        raise PictureError(str(error)) from error


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
    height, width, channels = _picture_shape(card)
    mode = "L" if channels == 1 else "RGB"
    pixels = resized(read_picture(source, max(width, height)), mode, width, height)
    if invert is None:
        invert = channels == 1 and card.labels == _DIGITS and _has_bright_border(pixels)
    if invert:
        pixels = 255 - pixels
    if card.input.before.type == "uint8":
        return pixels.reshape(card.input.before.shape)
    return (pixels ^ np.uint8(0x80)).view(np.int8).reshape(card.input.before.shape)


def _picture_shape(card: ModelCard) -> tuple[int, int, int]:
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
