"""Fully connected layers, and the layer that makes rows of pictures for them."""

from __future__ import annotations

from math import prod

import numpy as np

from model.errors import ModelError
from model.training.layers.layer import Layer, Shape, Weighted

__all__ = ["Dense", "Flatten"]


class Dense(Weighted):
    """A fully connected layer: every output depends on every input.

    y = x w + b, hence dw = x' dy, db = sum of dy over the batch, dx = dy w'.

    Source: Goodfellow et al., "Deep Learning" (2016), algorithm 6.4.

    Parameters
    ----------
    units : int
        Outputs.
    bias : bool

    Attributes
    ----------
    parameters
        ``weights`` (inputs, units) and ``bias`` (units,).
    """

    def __init__(self, units: int, bias: bool = True) -> None:
        super().__init__(bias)
        if units < 1:
            raise ValueError(f"units must be at least 1, not {units!r}")
        self.units = units
        self._x = np.empty(0, np.float32)

    def build(self, shape: Shape, rng: np.random.Generator) -> Shape:
        if len(shape) != 1:
            raise ModelError(f"Dense needs a row of features, not shape {shape}")
        self._start(rng, (shape[0], self.units), fan_in=shape[0])
        return (self.units,)

    def linear(self, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
        self._x = x
        return x @ weights

    def weights_gradient(self, dy: np.ndarray) -> np.ndarray:
        return self._x.T @ dy

    def input_gradient(self, dy: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return dy @ weights.T


class Flatten(Layer):
    """Reshape pictures (H, W, N, C) to rows (N, H * W * C): features by row, column, then
    channel."""

    def __init__(self) -> None:
        super().__init__()
        self._shape: Shape = ()

    def build(self, shape: Shape, rng: np.random.Generator) -> Shape:
        return (prod(shape),)

    def forward(self, x: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        self._shape = x.shape
        return np.moveaxis(x, 2, 0).reshape(x.shape[2], -1)

    def backward(self, dy: np.ndarray, input_gradient: bool = True) -> np.ndarray | None:
        height, width, count, channels = self._shape
        pictures = dy.reshape(count, height, width, channels)
        return np.ascontiguousarray(np.moveaxis(pictures, 0, 2))
