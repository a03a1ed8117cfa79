"""A layer's feature maps as one picture: a tile a channel, in reading order."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = ["draw_maps"]

#: Pixels that a map's longer side is enlarged to.
_TILE = 112
#: Pixels a value: for large maps, for small ones.
_LEAST_SCALE = 2
_CELL = 24
#: Pixels of the whole, tiles only.
_WHOLE = 4_000_000
_GAP = 2
_BETWEEN_TILES = (40, 60, 110)
_DIFFERENT = (255, 0, 0)
#: Width to height that the whole should have.
_ASPECT = 1.5
#: How much worse a share of empty places is than a factor e of aspect.
_COST_OF_EMPTY = 10
_LONGEST_ROW = 32


def draw_maps(
    values: npt.NDArray[np.int8], marked: npt.NDArray[np.bool_] | None = None
) -> Image.Image:
    """Draw an activation tensor.

    Each channel's least value is black, its greatest white. A vector is one row of cells, or
    several rows if it is long, its least value black and its greatest white.

    Parameters
    ----------
    values : ndarray of int8, shape (height, width, channels), (width, channels) or (channels,)
    marked : ndarray of bool, of the same shape, optional
        Shown in red.
    """
    if not 1 <= values.ndim <= 3 or values.size == 0:
        raise ValueError(f"Feature maps have 1 to 3 dimensions, not the shape {values.shape}")
    shape = (1,) * (3 - values.ndim) + values.shape
    height, width, channels = shape
    grey = _normalised(values.reshape(shape))
    colours = np.repeat(grey[..., None], 3, axis=3)
    if marked is not None:
        colours[marked.reshape(shape)] = _DIFFERENT
    scale = _scale(height, width, channels)
    tile_height, tile_width = height * scale, width * scale
    columns = _columns(channels, tile_height + _GAP, tile_width + _GAP, height * width == 1)
    rows = -(-channels // columns)
    size = (rows * (tile_height + _GAP) + _GAP, columns * (tile_width + _GAP) + _GAP, 3)
    whole = np.full(size, _BETWEEN_TILES, np.uint8)
    for channel in range(channels):
        top = _GAP + channel // columns * (tile_height + _GAP)
        left = _GAP + channel % columns * (tile_width + _GAP)
        tile = colours[:, :, channel].repeat(scale, axis=0).repeat(scale, axis=1)
        whole[top : top + tile_height, left : left + tile_width] = tile
    return Image.fromarray(whole)


def _normalised(maps: npt.NDArray[np.int8]) -> npt.NDArray[np.uint8]:
    axes = (0, 1) if maps.shape[0] * maps.shape[1] > 1 else (0, 1, 2)
    values = maps.astype(np.int16)
    least = values.min(axis=axes, keepdims=True)
    span = np.maximum(values.max(axis=axes, keepdims=True) - least, 1)
    return ((values - least) * (255 / span)).round().astype(np.uint8)


def _scale(height: int, width: int, channels: int) -> int:
    """Pixels a value, a whole number so that values stay squares."""
    largest = math.isqrt(_WHOLE // (height * width * channels))
    return max(1, min(_CELL, max(_LEAST_SCALE, _TILE // max(height, width)), largest))


def _columns(channels: int, height: int, width: int, is_vector: bool) -> int:
    """Tiles a row: near the wanted aspect, with few places left empty."""
    if is_vector and channels <= _LONGEST_ROW:
        return channels

    def badness(columns: int) -> float:
        rows = -(-channels // columns)
        aspect = columns * width / (rows * height)
        empty = (rows * columns - channels) / channels
        return abs(math.log(aspect / _ASPECT)) + _COST_OF_EMPTY * empty

    return min(range(1, channels + 1), key=badness)
