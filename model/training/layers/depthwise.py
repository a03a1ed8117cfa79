"""Depthwise convolution."""

from __future__ import annotations

from math import prod

import numpy as np

from model.int8.graph import Padding
from model.training.layers.layer import Shape, Weighted, sum_by_channel
from model.training.layers.window import Windowed

__all__ = ["DepthwiseConv2D"]


class DepthwiseConv2D(Windowed, Weighted):
    """A convolution of each channel with a filter of its own.

    y[p, q, n, c] = b[c] + sum over i, j of x[p s + i, q t + j, n, c] w[i, j, c]

    with stride (s, t) and zeros outside of the picture. Hence

    dw[i, j, c] = sum over p, q, n of x[p s + i, q t + j, n, c] dy[p, q, n, c]
    dx[p s + i, q t + j, n, c] += dy[p, q, n, c] w[i, j, c], for each p, q, i, j

    Followed by a 1x1 convolution, which mixes the channels, it replaces a convolution with a
    fraction of the multiplications.

    Source: Howard et al., "MobileNets" (2017), section 3.1, equation 3.

    Parameters
    ----------
    kernel : int or tuple of int
    stride : int
    padding : Padding
    bias : bool

    Attributes
    ----------
    parameters
        ``weights`` (kernel rows, kernel columns, channels) and ``bias`` (channels,).
    """

    def __init__(
        self,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: Padding = Padding.SAME,
        bias: bool = True,
    ) -> None:
        super().__init__(kernel, stride, padding, bias=bias)
        self._padded = np.empty(0, np.float32)

    def build(self, shape: Shape, rng: np.random.Generator) -> Shape:
        pixels = self._fit(shape)
        self._start(rng, (*self.kernel, shape[2]), fan_in=prod(self.kernel))
        return (*pixels, shape[2])

    def linear(self, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
        self._padded = self._pad(x, 0)
        y = np.zeros((*self._pixels, *x.shape[2:]), x.dtype)
        for i, j in self._taps():
            y += self._padded[self._tap(i, j)] * weights[i, j]
        return y

    def weights_gradient(self, dy: np.ndarray) -> np.ndarray:
        gradient = np.empty((*self.kernel, dy.shape[3]), dy.dtype)
        for i, j in self._taps():
            gradient[i, j] = sum_by_channel(self._padded[self._tap(i, j)] * dy)
        return gradient

    def input_gradient(self, dy: np.ndarray, weights: np.ndarray) -> np.ndarray:
        dx = np.zeros(self._padded.shape, dy.dtype)
        for i, j in self._taps():
            dx[self._tap(i, j)] += dy * weights[i, j]
        return self._unpad(dx)
