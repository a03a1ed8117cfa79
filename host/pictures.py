"""Pictures: any file that Pillow can read to a model's input, and small ones to the terminal."""

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

__all__ = ["draw", "read_picture", "side_by_side", "to_input"]

#: Grey ramp from dark to bright.
_RAMP = " .:-=+*#%@"
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
) -> npt.NDArray[np.int8]:
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
    ndarray of int8, of the model's input shape
        Pixels less 128.

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
    return (pixels ^ np.uint8(0x80)).view(np.int8).reshape(card.input.shape)


def _picture_shape(card: ModelCard) -> tuple[int, int, int]:
    shape = card.input.shape
    if len(shape) == 2:
        return shape[0], shape[1], 1
    if len(shape) == 3 and shape[2] in (1, 3):
        return shape[0], shape[1], shape[2]
    text = "x".join(map(str, shape))
    raise PictureError(f"the model {card.name} takes an input of {text}: that is no picture")


def _has_bright_border(pixels: npt.NDArray[np.uint8]) -> bool:
    border = np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])
    return bool(np.median(border) > 127)


# The terminal.


def draw(pixels: npt.NDArray[np.uint8], *, unicode: bool = True, colour: bool = False) -> list[str]:
    """A small picture as lines of text, all of the same width on the terminal.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (height, width) or (height, width, channels)
    unicode : bool
        Half blocks, two rows of pixels a line; else two characters of a grey ramp a pixel.
    colour : bool
        24-bit colours by escape sequences; only with ``unicode``.
    """
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if not unicode:
        grey = pixels.mean(axis=2)
        steps = (grey * (len(_RAMP) - 1) / 255).round().astype(int)
        return ["".join(2 * _RAMP[step] for step in row) for row in steps]
    if len(pixels) % 2:
        pixels = np.concatenate([pixels, np.zeros_like(pixels[:1])])
    rgb = pixels if pixels.shape[2] == 3 else np.repeat(pixels[:, :, :1], 3, axis=2)
    lines = []
    for upper, lower in zip(rgb[::2], rgb[1::2]):
        if colour:
            cells = (
                f"\x1b[38;2;{a};{b};{c};48;2;{d};{e};{f}m▀"
                for (a, b, c), (d, e, f) in zip(upper.tolist(), lower.tolist())
            )
            lines.append("".join(cells) + "\x1b[0m")
        else:
            bright = zip(upper.mean(axis=1) > 127, lower.mean(axis=1) > 127)
            lines.append("".join(" ▄▀█"[2 * bool(above) + bool(below)] for above, below in bright))
    return lines


def side_by_side(pictures: list[list[str]], captions: list[str], width: int) -> list[str]:
    """Drawings of one height in a row, a caption under each.

    Parameters
    ----------
    pictures : list of list of str
        From :func:`draw`.
    captions : list of str
    width : int
        Columns that each takes on the terminal, escape sequences not counted.
    """
    gap = "  "
    lines = [gap.join(parts) for parts in zip(*pictures)]
    column = max([width, *map(len, captions)])
    if column > width:
        pad = " " * (column - width)
        lines = [gap.join(part + pad for part in parts) for parts in zip(*pictures)]
    return [*lines, gap.join(caption.ljust(column) for caption in captions)]
