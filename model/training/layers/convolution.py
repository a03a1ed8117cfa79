"""Convolution."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np

from model.int8.graph import Padding
from model.training.layers.layer import Shape, Weighted
from model.training.layers.window import Meeting, Windowed

__all__ = ["Conv2D"]


class Conv2D(Windowed, Weighted):
    """Convolution in the sense of neural networks, which is cross-correlation.

    y[p, q, n, o] = b[o] + sum over i, j, c of x[p s + i, q t + j, n, c] w[i, j, c, o]

    with stride (s, t) and zeros outside of the picture. Hence the gradients

    dw[i, j, c, o] = sum over p, q, n of x[p s + i, q t + j, n, c] dy[p, q, n, o]
    db[o] = sum over p, q, n of dy[p, q, n, o]
    dx[p s + i, q t + j, n, c] += sum over o of dy[p, q, n, o] w[i, j, c, o], for each p, q, i, j

    If the pixels under each window are laid out as a row (im2col), y and dw are matrix products.
    Laying out whole windows would copy each pixel once for every tap. Only the taps of one kernel
    row are therefore laid out beside each other, for all rows of the picture: the window's next row
    lies in the same array, one picture row further on. There is one product for each kernel row,
    and the convolution is their sum. For dx, there is one small product for each tap, added to a
    shifted slice.

    Sources: Goodfellow et al., "Deep Learning" (2016), equations 9.6 and 9.11 to 9.13; Chellapilla
    et al., "High Performance Convolutional Neural Networks for Document Processing" (2006), im2col;
    Cho, Brand, "MEC: Memory-efficient Convolution" (2017), for the rows in common.

    Parameters
    ----------
    filters : int
        Output channels.
    kernel : int or tuple of int
    stride : int
    padding : Padding
    bias : bool

    Attributes
    ----------
    parameters
        ``weights`` (kernel rows, kernel columns, input channels, filters) and ``bias`` (filters,).
    """

    def __init__(
        self,
        filters: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: Padding = Padding.SAME,
        bias: bool = True,
    ) -> None:
        super().__init__(kernel, stride, padding, bias=bias)
        if filters < 1:
            raise ValueError(f"filters must be at least 1, not {filters!r}")
        self.filters = filters
        self._columns = np.empty(0, np.float32)
        self._shape: Shape = ()
        #: For each tap, its windows and pixels down and along the picture.
        self._meetings: dict[tuple[int, int], tuple[Meeting, Meeting]] = {}

    def build(self, shape: Shape, rng: np.random.Generator) -> Shape:
        pixels = self._fit(shape)
        weights = (*self.kernel, shape[2], self.filters)
        self._start(rng, weights, fan_in=prod(weights[:3]))
        height, width, _ = shape
        self._meetings = {
            (i, j): (self._meet(i, height, 0), self._meet(j, width, 1)) for i, j in self._taps()
        }
        return (*pixels, self.filters)

    def linear(self, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
        self._shape = x.shape
        *_, count, channels = x.shape
        if channels == 1:
            self._lay_out_windows(x)
        else:
            self._lay_out_rows(x)
        shape = (self._pixels[0] * self._pixels[1] * count, self.filters)
        y, further = (self._buffer(use, shape, x.dtype) for use in ("y", "further"))
        for index, (rows, taps) in enumerate(self._products()):
            product = further if index else y
            np.matmul(rows, weights[taps].reshape(-1, self.filters), out=product)
            if index:
                y += further
        return y.reshape(*self._pixels, count, self.filters)

    def weights_gradient(self, dy: np.ndarray) -> np.ndarray:
        gradient = np.empty((*self.kernel, self._shape[3], self.filters), dy.dtype)
        for rows, taps in self._products():
            product = rows.T @ dy.reshape(-1, self.filters)
            gradient[taps] = product.reshape(gradient[taps].shape)
        return gradient

    def input_gradient(self, dy: np.ndarray, weights: np.ndarray) -> np.ndarray:
        rows = dy.reshape(-1, self.filters)
        dx = self._buffer("dx", self._shape, dy.dtype)
        dx.fill(0)
        product = self._buffer("product", (*dy.shape[:3], weights.shape[2]), dy.dtype)
        for (i, j), (down, along) in self._meetings.items():
            np.matmul(rows, weights[i, j].T, out=product.reshape(len(rows), -1))
            dx[down.pixels, along.pixels] += product[down.windows, along.windows]
        return dx

    # Columns are initially zero. Where a tap meets no pixel they stay zero, which is the padding.

    def _lay_out_rows(self, x: np.ndarray) -> None:
        """Fill columns (padded height, output width, N, kernel columns, C): a kernel row's taps."""
        height, _, count, channels = x.shape
        top, bottom = self._edges[0]
        shape = (top + height + bottom, self._pixels[1], count, self.kernel[1], channels)
        columns = self._buffer("columns", shape, x.dtype)
        for j in range(self.kernel[1]):
            _, along = self._meetings[0, j]
            columns[top : top + height, along.windows, :, j] = x[:, along.pixels]
        self._columns = columns

    def _lay_out_windows(self, x: np.ndarray) -> None:
        """Fill columns (taps, output height, output width, N) of one channel: whole windows.

        With one channel, a kernel row's products would have only `kernel columns` terms, too few to
        be fast.
        """
        shape = (len(self._meetings), *self._pixels, x.shape[2])
        columns = self._buffer("columns", shape, x.dtype)
        for column, (down, along) in zip(columns, self._meetings.values()):
            column[down.windows, along.windows] = x[down.pixels, along.pixels, :, 0]
        self._columns = columns

    def _products(self) -> Iterator[tuple[np.ndarray, slice]]:
        """Yield matrices of columns, a row for each window, and their kernel rows."""
        if self._columns.ndim == 4:
            yield self._columns.reshape(len(self._columns), -1).T, slice(None)
            return
        for i in range(self.kernel[0]):
            rows = self._columns[self._tap(i, 0)[0]]
            yield rows.reshape(-1, prod(self._columns.shape[3:])), slice(i, i + 1)
