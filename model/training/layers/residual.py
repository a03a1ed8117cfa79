"""Residual blocks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.errors import ModelError
from model.training.layers.layer import Layer, Shape

__all__ = ["Residual"]


class Residual(Layer):
    """The sum of two branches: y = body(x) + shortcut(x).

    An empty shortcut is the identity. Both branches receive dy, and dx is the sum of the gradients
    by their inputs.

    Source: He et al., "Deep Residual Learning for Image Recognition" (2016), equations 1 and 2.

    Parameters
    ----------
    body : sequence of Layer
    shortcut : sequence of Layer
        For example a 1x1 convolution, if the body changes the shape.
    """

    def __init__(self, body: Sequence[Layer], shortcut: Sequence[Layer] = ()) -> None:
        super().__init__()
        if not body:
            raise ValueError("a residual block needs a body")
        self.body = tuple(body)
        self.shortcut = tuple(shortcut)
        self.children = (*self.body, *self.shortcut)

    def build(self, shape: Shape, rng: np.random.Generator) -> Shape:
        result, other = shape, shape
        for layer in self.body:
            result = layer.build(result, rng)
        for layer in self.shortcut:
            other = layer.build(other, rng)
        if result != other:
            raise ModelError(f"a residual block adds one shape, not {result} and {other}")
        return result

    def forward(self, x: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        y, other = x, x
        for layer in self.body:
            y = layer.forward(y, rng)
        for layer in self.shortcut:
            other = layer.forward(other, rng)
        return y + other

    def backward(self, dy: np.ndarray, input_gradient: bool = True) -> np.ndarray | None:
        ways = [self._back(self.body, dy, input_gradient)]
        ways.append(self._back(self.shortcut, dy, input_gradient))
        first, second = ways
        return None if first is None or second is None else first + second

    @staticmethod
    def _back(layers: tuple[Layer, ...], dy: np.ndarray, input_gradient: bool) -> np.ndarray | None:
        gradient: np.ndarray | None = dy
        for position, layer in reversed(list(enumerate(layers))):
            assert gradient is not None
            gradient = layer.backward(gradient, input_gradient or position > 0)
        return gradient
