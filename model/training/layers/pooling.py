"""Pooling: reduces a window of pixels to one, channel by channel."""

from __future__ import annotations

import numpy as np

from model.int8.graph import Padding
from model.training.layers.layer import Shape
from model.training.layers.window import Windowed

__all__ = ["AveragePool2D", "GlobalAveragePool", "MaxPool2D"]


class _Pool(Windowed):
    """The base class of pools.

    Parameters
    ----------
    kernel : int or tuple of int
    stride : int, optional
        The kernel's by default.
    padding : Padding
    """

    def __init__(
        self,
        kernel: int | tuple[int, int] = 2,
        stride: int | None = None,
        padding: Padding = Padding.VALID,
    ) -> None:
        super().__init__(kernel, kernel if stride is None else stride, padding)

    def build(self, shape: Shape, rng: np.random.Generator) -> Shape:
        return (*self._fit(shape), shape[2])


class MaxPool2D(_Pool):
    """The largest value under each window, channel by channel; padding never wins.

    The taps play a tournament: the first one is the champion until a later one is larger. The
    gradient passes the rounds in reverse: it goes to the challenger if that won, and otherwise on
    to the champion. It thus reaches the largest pixel; among equals, the first.

    Source: Goodfellow et al., "Deep Learning" (2016), 9.3.
    """

    def forward(self, x: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        padded = self._pad(x, -np.inf)
        self._padded_shape = padded.shape
        first, *challengers = self._taps()
        shape = (*self._pixels, *x.shape[2:])
        self._won = self._buffer("won", (len(challengers), *shape), np.dtype(bool))
        result = self._buffer("champion", shape, x.dtype)
        champion = padded[self._tap(*first)]
        for tap, won in zip(challengers, self._won):
            challenger = padded[self._tap(*tap)]
            np.greater(challenger, champion, out=won)
            champion = np.maximum(champion, challenger, out=result)
        return champion

    def backward(self, dy: np.ndarray, input_gradient: bool = True) -> np.ndarray | None:
        dx = self._buffer("dx", self._padded_shape, dy.dtype)
        # Shares add up where windows overlap; otherwise each pixel gets one share or none.
        overlap = self.stride[0] < self.kernel[0] or self.stride[1] < self.kernel[1]
        if overlap:
            dx.fill(0)
        first, *challengers = self._taps()
        shares, rest = (self._buffer(use, dy.shape, dy.dtype) for use in ("shares", "remaining"))
        remaining = dy
        for tap, won in zip(reversed(challengers), self._won[::-1]):
            pixels = dx[self._tap(*tap)]
            share = np.multiply(remaining, won, out=shares if overlap else pixels)
            remaining = np.subtract(remaining, share, out=rest)
            if overlap:
                pixels += share
        pixels = dx[self._tap(*first)]
        if overlap:
            pixels += remaining
        else:
            pixels[...] = remaining
        return self._unpad(dx)


class AveragePool2D(_Pool):
    """The mean of the pixels under each window, channel by channel; padding does not count.

    y[p, q, n, c] = (sum over the taps inside of the picture of x[p s + i, q t + j, n, c]) / k[p, q]
    dx[p s + i, q t + j, n, c] += dy[p, q, n, c] / k[p, q]

    where k is the number of taps inside the picture, as in TensorFlow Lite's AVERAGE_POOL_2D.

    Source: LeCun et al., "Gradient-Based Learning Applied to Document Recognition" (1998), II.B,
    without its trainable factor; ``reference_integer_ops::AveragePool`` for k.
    """

    def build(self, shape: Shape, rng: np.random.Generator) -> Shape:
        result = super().build(shape, rng)
        inside = self._pad(np.ones((*shape[:2], 1, 1), np.float32), 0)
        self.counts = np.zeros((*self._pixels, 1, 1), np.float32)
        for tap in self._taps():
            self.counts += inside[self._tap(*tap)]
        return result

    def sums(self, x: np.ndarray) -> np.ndarray:
        """The sum under each window."""
        padded = self._pad(x, 0)
        self._padded_shape = padded.shape
        total = np.zeros((*self._pixels, *x.shape[2:]), x.dtype)
        for tap in self._taps():
            total += padded[self._tap(*tap)]
        return total

    def forward(self, x: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        return self.sums(x) / self.counts

    def backward(self, dy: np.ndarray, input_gradient: bool = True) -> np.ndarray | None:
        dx = np.zeros(self._padded_shape, dy.dtype)
        share = dy / self.counts
        for tap in self._taps():
            dx[self._tap(*tap)] += share
        return self._unpad(dx)


class GlobalAveragePool(AveragePool2D):
    """The mean of all pixels, channel by channel, as a single pixel.

    y[0, 0, n, c] = mean over p, q of x[p, q, n, c]

    Source: Lin et al., "Network in Network" (2014), section 3.2.
    """

    def __init__(self) -> None:
        super().__init__(1)

    def build(self, shape: Shape, rng: np.random.Generator) -> Shape:
        if len(shape) == 3:
            self.kernel = self.stride = shape[0], shape[1]
        return super().build(shape, rng)
