"""Activation functions, which make a network more than one matrix."""

from __future__ import annotations

import numpy as np

from model.training.layers.layer import Layer

__all__ = ["ReLU", "Sigmoid"]


class ReLU(Layer):
    """y = max(x, 0); dx = dy where y > 0, else 0.

    Source: Glorot et al., "Deep Sparse Rectifier Neural Networks" (2011), section 3.1.
    """

    def __init__(self) -> None:
        super().__init__()
        self._y = np.empty(0, np.float32)

    def forward(self, x: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        self._y = self._buffer("y", x.shape, x.dtype)
        return np.maximum(x, 0, out=self._y)

    def backward(self, dy: np.ndarray, input_gradient: bool = True) -> np.ndarray | None:
        positive = np.greater(self._y, 0, out=self._buffer("positive", dy.shape, np.dtype(bool)))
        return np.multiply(dy, positive, out=self._buffer("dx", dy.shape, dy.dtype))


class Sigmoid(Layer):
    """y = 1 / (1 + exp(-x)); dx = dy y (1 - y).

    Source: Goodfellow et al., "Deep Learning" (2016), equation 3.30 and 3.33.
    """

    def __init__(self) -> None:
        super().__init__()
        self._y: np.ndarray = np.empty(0, np.float32)

    def forward(self, x: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        # tanh does not overflow for any x: sigmoid(x) = (1 + tanh(x / 2)) / 2
        self._y = (np.tanh(x * 0.5) + 1) * 0.5
        return self._y

    def backward(self, dy: np.ndarray, input_gradient: bool = True) -> np.ndarray | None:
        return dy * (self._y * (1 - self._y))
