"""Pictures in another size."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from model.importing.float_operators.definition import FloatOperator, Shape, as_picture

__all__ = ["Nearest", "Resize", "Sampling"]


class Sampling(str, Enum):
    """How a resized picture takes its pixels.

    Output pixel i lies at (i + 0.5) * in / out - 0.5, or at i * in / out, or at
    i * (in - 1) / (out - 1).
    """

    HALF_PIXEL = "half_pixel"
    ASYMMETRIC = "asymmetric"
    ALIGN_CORNERS = "align_corners"


class Nearest(str, Enum):
    """Which pixel is the nearest of a place between two: that below, or by rounding."""

    FLOOR = "floor"
    HALF_DOWN = "round_prefer_floor"
    HALF_UP = "round_prefer_ceil"


@dataclass(frozen=True)
class Resize(FloatOperator):
    """A picture in another size.

    Attributes
    ----------
    size : tuple of int
        Output rows and columns.
    linear : bool
        Bilinear; else the nearest pixel.
    sampling : Sampling
    rounding : Nearest
        Where it is not bilinear.
    """

    size: tuple[int, int]
    linear: bool
    sampling: Sampling
    rounding: Nearest = Nearest.FLOOR

    def shape(self, *shapes: Shape) -> Shape:
        return (*self.size, as_picture(shapes[0])[2])

    def source(self, axis: int, size: int) -> np.ndarray:
        """Where along an axis of `size` pixels each output pixel lies, in float64."""
        count = self.size[axis]
        at = np.arange(count, dtype=np.float64)
        match self.sampling:
            case Sampling.HALF_PIXEL:
                return (at + 0.5) * (size / count) - 0.5
            case Sampling.ASYMMETRIC:
                return at * (size / count)
            case Sampling.ALIGN_CORNERS:
                return at * ((size - 1) / (count - 1)) if count > 1 else at * 0

    def nearest(self, axis: int, size: int) -> np.ndarray:
        """Which pixel along an axis each output pixel takes, where `linear` is not set."""
        at = self.source(axis, size)
        # Exact multiples must not fall below themselves.
        match self.rounding:
            case Nearest.FLOOR:
                chosen = np.floor(at + 1e-9)
            case Nearest.HALF_DOWN:
                chosen = np.ceil(at - 0.5 - 1e-9)
            case Nearest.HALF_UP:
                chosen = np.floor(at + 0.5 + 1e-9)
        return np.clip(chosen, 0, size - 1).astype(np.intp)

    def matrix(self, axis: int, size: int) -> np.ndarray:
        """The share of each pixel along an axis in each output pixel: (outputs, size), float32."""
        shares = np.zeros((self.size[axis], size), np.float32)
        each = np.arange(self.size[axis])
        if not self.linear:
            shares[each, self.nearest(axis, size)] = 1
            return shares
        at = np.clip(self.source(axis, size), 0, size - 1)
        low = np.floor(at).astype(np.intp)
        shares[each, low] = 1 - (at - low)
        shares[each, np.minimum(low + 1, size - 1)] += at - low
        return shares

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        for axis in (0, 1):
            matrix = self.matrix(axis, x.shape[axis + 1])
            x = np.moveaxis(np.moveaxis(x, axis + 1, -1) @ matrix.T, -1, axis + 1)
        return x
