"""What every operator of a float graph is.

An operator is frozen plain data; `shape` works out its output's shape, without the batch, and
refuses inputs that do not fit; `forward` computes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from model.errors import ModelError
from model.int8.operators.examined import written

__all__ = ["FloatOperator", "Shape", "as_picture", "require"]

Shape = tuple[int, ...]


class FloatOperator(ABC):
    """One operator with its options and constants."""

    @abstractmethod
    def shape(self, *shapes: Shape) -> Shape:
        """Shape of the output for inputs of `shapes`, all without the batch.

        Raises
        ------
        ModelError
            If they do not fit.
        """

    @abstractmethod
    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        """The output."""

    @property
    def parameters(self) -> int:
        """Weights and biases, counted one by one."""
        return 0

    @property
    def kind(self) -> str:
        """What messages call it."""
        return type(self).__name__


def require(condition: bool, reason: str) -> None:
    """Refuse with `reason` unless the condition holds."""
    if not condition:
        raise ModelError(reason)


def as_picture(shape: Shape) -> tuple[int, int, int]:
    """Height, width and channels; other shapes are refused."""
    require(len(shape) == 3, f"needs pictures, not shape {written(shape)}")
    return shape[0], shape[1], shape[2]
