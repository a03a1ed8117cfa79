"""Reductions over axes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from model.importing.float_operators.definition import FloatOperator, Shape, require

__all__ = ["Reduction", "ReductionKind"]


class ReductionKind(str, Enum):
    """What a reduction takes of the values that it sees."""

    MEAN = "mean"
    SUM = "sum"
    MAX = "max"
    MIN = "min"


@dataclass(frozen=True)
class Reduction(FloatOperator):
    """Mean, sum, greatest or least over axes, counted without the batch, which stay with size 1."""

    reduction: ReductionKind
    axes: tuple[int, ...]

    @property
    def kind(self) -> str:
        return f"{self.reduction.value} over axes {self.axes}"

    def shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        require(all(0 <= axis < len(shape) for axis in self.axes), f"no axes {self.axes}")
        return tuple(1 if axis in self.axes else size for axis, size in enumerate(shape))

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        axes = tuple(axis + 1 for axis in self.axes)
        reduce = getattr(np, self.reduction.value)
        return reduce(inputs[0], axis=axes, keepdims=True)
