"""A kernel that slides over a picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from model.importing.float_operators.definition import Shape, as_picture, require
from model.int8.geometry import extent
from model.int8.graph import Padding
from model.int8.operators.examined import written

__all__ = ["Window"]

_MAX_PADDED = 1 << 26


@dataclass(frozen=True)
class Window:
    """A kernel that slides over a picture, with its padding spelt out.

    Attributes
    ----------
    kernel, stride, dilation : tuple of int
        Along rows and columns.
    pads : tuple of int
        Rows and columns beyond the picture: top, left, bottom, right.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)

    def positions(self, shape: Shape) -> tuple[int, int]:
        """Output rows and columns on a picture of `shape`."""
        height, width, channels = as_picture(shape)
        top, left, bottom, right = self.pads
        require(min(*self.kernel, *self.stride, *self.dilation) >= 1, "a kernel or stride below 1")
        require(min(self.pads) >= 0, f"padding of {min(self.pads)}")
        padded = (height + top + bottom, width + left + right)
        require(prod(padded) * channels <= _MAX_PADDED, "its padded picture is too large")
        rows, columns = (
            (size - (kernel - 1) * dilation - 1) // stride + 1
            for size, kernel, stride, dilation in zip(
                padded, self.kernel, self.stride, self.dilation
            )
        )
        require(
            rows >= 1 and columns >= 1,
            f"a {written(self.kernel)} window does not fit into {height}x{width} pixels",
        )
        return rows, columns

    def is_same(self, shape: Shape) -> bool:
        """Whether the padding is what TensorFlow's SAME gives on a picture of `shape`."""
        positions = self.positions(shape)
        for axis in (0, 1):
            found = extent(
                shape[axis],
                self.kernel[axis],
                self.stride[axis],
                self.dilation[axis],
                Padding.SAME,
            )
            # Padding behind the last window does nothing.
            if (found.positions, found.before) != (positions[axis], self.pads[axis]):
                return False
        return True

    def taps(self, positions: tuple[int, int]) -> Iterator[tuple[int, int, slice, slice]]:
        """Yield (kernel row, kernel column, rows, columns) of the padded picture for each tap."""
        for i in range(self.kernel[0]):
            for j in range(self.kernel[1]):
                y, x = i * self.dilation[0], j * self.dilation[1]
                yield (
                    i,
                    j,
                    slice(y, y + (positions[0] - 1) * self.stride[0] + 1, self.stride[0]),
                    slice(x, x + (positions[1] - 1) * self.stride[1] + 1, self.stride[1]),
                )

    def padded(self, x: np.ndarray, value: float) -> np.ndarray:
        """`x` with `value` around it."""
        top, left, bottom, right = self.pads
        if not any(self.pads):
            return x
        return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)
