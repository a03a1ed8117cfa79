"""A kernel that slides over a picture: which pixels each of its taps covers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.errors import ModelError
from model.int8.geometry import extent
from model.int8.graph import Padding
from model.training.layers.layer import Layer, Shape

__all__ = ["Meeting", "Windowed"]


class Meeting(NamedTuple):
    """Along one axis, the windows whose tap covers a pixel, and these pixels."""

    windows: slice
    pixels: slice


class Windowed(Layer):
    """A layer with a kernel that slides over a picture.

    A tap is one position (i, j) in the kernel. Over all windows, tap (i, j) covers a shifted,
    strided slice of the padded picture, so a layer is a loop over taps, not over pixels.

    Parameters
    ----------
    kernel : int or tuple of int
        Rows and columns.
    stride : int or tuple of int
        Rows and columns between windows.
    padding : Padding

    Attributes
    ----------
    kernel, stride : tuple of int
    padding : Padding
    """

    def __init__(
        self,
        kernel: int | tuple[int, int],
        stride: int | tuple[int, int],
        padding: Padding,
        **others: bool,
    ) -> None:
        super().__init__(**others)  # A convolution is also a `Weighted`, with or without a bias.
        self.kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        self.stride = (stride, stride) if isinstance(stride, int) else stride
        if min(*self.kernel, *self.stride) < 1:
            raise ValueError(f"kernel and stride must be at least 1, not {kernel!r} and {stride!r}")
        self.padding = padding
        self._edges: tuple[tuple[int, int], ...] = ()
        self._pixels: tuple[int, int] = (0, 0)

    def _fit(self, shape: Shape) -> tuple[int, int]:
        """Compute output rows and columns for pictures of `shape`, and the padding."""
        if len(shape) != 3:
            raise ModelError(f"{type(self).__name__} needs pictures of HxWxC, not shape {shape}")
        rows, columns = (
            extent(size, kernel, stride, 1, self.padding)
            for size, kernel, stride in zip(shape, self.kernel, self.stride)
        )
        if rows.positions < 1 or columns.positions < 1:
            raise ModelError(f"a {self.kernel} window does not fit into {shape[:2]} pixels")
        self._edges = ((rows.before, rows.after), (columns.before, columns.after), (0, 0), (0, 0))
        self._pixels = rows.positions, columns.positions
        return self._pixels

    def _pad(self, x: np.ndarray, value: float) -> np.ndarray:
        if not np.any(self._edges):
            return x
        (top, bottom), (left, right), *_ = self._edges
        height, width, *rest = x.shape
        shape = (height + top + bottom, width + left + right, *rest)
        padded = self._buffer("padded", shape, x.dtype)
        padded[:top] = value
        padded[top + height :] = value
        padded[:, :left] = value
        padded[:, left + width :] = value
        padded[top : top + height, left : left + width] = x
        return padded

    def _unpad(self, padded: np.ndarray) -> np.ndarray:
        (top, bottom), (left, right), *_ = self._edges
        height, width = padded.shape[:2]
        return padded[top : height - bottom, left : width - right]

    def _tap(self, i: int, j: int) -> tuple[slice, slice]:
        """Rows and columns of the padded picture that tap (i, j) covers, one for each window."""
        (rows, columns), (down, right) = self._pixels, self.stride
        return (
            slice(i, i + (rows - 1) * down + 1, down),
            slice(j, j + (columns - 1) * right + 1, right),
        )

    def _meet(self, tap: int, size: int, axis: int) -> Meeting:
        """What a tap covers along an axis of `size` pixels."""
        step, before = self.stride[axis], self._edges[axis][0]
        first = max(0, -((tap - before) // step))
        last = min(self._pixels[axis] - 1, (size - 1 + before - tap) // step)
        start = first * step + tap - before
        count = max(0, last - first + 1)
        return Meeting(slice(first, first + count), slice(start, start + count * step, step))

    def _taps(self) -> list[tuple[int, int]]:
        return [(i, j) for i in range(self.kernel[0]) for j in range(self.kernel[1])]
