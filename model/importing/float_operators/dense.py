"""Dense layers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.importing.float_operators.definition import FloatOperator, Shape, require
from model.int8.operators.examined import written

__all__ = ["Dense"]


@dataclass(frozen=True, eq=False)
class Dense(FloatOperator):
    """A vector times a matrix: weights (inputs, outputs) and bias (outputs,), float64."""

    weights: np.ndarray
    bias: np.ndarray
    weight_scale: np.ndarray | None = None

    @property
    def parameters(self) -> int:
        return self.weights.size + self.bias.size

    def shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        require(len(shape) == 1, f"needs a vector, not shape {written(shape)}")
        require(
            shape[0] == len(self.weights), f"weights for {len(self.weights)} inputs on {shape[0]}"
        )
        return (self.weights.shape[1],)

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        return inputs[0] @ self.weights.astype(np.float32) + self.bias.astype(np.float32)
