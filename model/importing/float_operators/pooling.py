"""The greatest value, or the mean, under a window."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np

from model.importing.float_operators.definition import FloatOperator, Shape
from model.importing.float_operators.window import Window

__all__ = ["AveragePool", "MaxPool"]


@dataclass(frozen=True)
class MaxPool(FloatOperator):
    """Greatest value under a window; padding never wins."""

    window: Window

    def shape(self, *shapes: Shape) -> Shape:
        return (*self.window.positions(shapes[0]), shapes[0][2])

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        positions = self.window.positions(x.shape[1:])
        x = self.window.padded(x, -inf)
        y = np.full((len(x), *positions, x.shape[3]), -inf, np.float32)
        for _, _, rows, columns in self.window.taps(positions):
            np.maximum(y, x[:, rows, columns], out=y)
        return y


@dataclass(frozen=True)
class AveragePool(FloatOperator):
    """Mean under a window.

    Attributes
    ----------
    window : Window
    counted : tuple of int
        Rows and columns beyond the picture that count as zeros: top, left, bottom, right. What
        lies further out does not count.
    """

    window: Window
    counted: tuple[int, int, int, int] = (0, 0, 0, 0)

    def shape(self, *shapes: Shape) -> Shape:
        return (*self.window.positions(shapes[0]), shapes[0][2])

    def counts(self, shape: Shape) -> np.ndarray:
        """How many values each mean is of: shape (rows, columns, 1), float32."""
        positions = self.window.positions(shape)
        counts = []
        for axis in (0, 1):
            tap = np.arange(self.window.kernel[axis]) * self.window.dilation[axis]
            start = np.arange(positions[axis]) * self.window.stride[axis] - self.window.pads[axis]
            at = start[:, np.newaxis] + tap
            inside = (at >= -self.counted[axis]) & (at < shape[axis] + self.counted[axis + 2])
            counts.append(inside.sum(axis=1))
        return np.maximum(np.outer(*counts), 1)[..., np.newaxis].astype(np.float32)

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        counts = self.counts(x.shape[1:])
        positions = self.window.positions(x.shape[1:])
        x = self.window.padded(x, 0)
        y = np.zeros((len(x), *positions, x.shape[3]), np.float32)
        for _, _, rows, columns in self.window.taps(positions):
            y += x[:, rows, columns]
        return y / counts
