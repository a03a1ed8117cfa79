"""What each number becomes on its own, with constants or with a number of another tensor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np

from model.importing.float_operators.definition import FloatOperator, Shape, require
from model.int8.operators.examined import written

__all__ = ["Affine", "Binary", "BinaryKind", "PRelu"]


@dataclass(frozen=True, eq=False)
class Affine(FloatOperator):
    """``x * factor + offset``, float64 arrays that broadcast to the input's shape."""

    factor: np.ndarray
    offset: np.ndarray

    @classmethod
    def uniform(cls, factor: float, offset: float = 0.0) -> Affine:
        """The same for every element."""
        return cls(np.array(factor), np.array(offset))

    @property
    def parameters(self) -> int:
        return self.factor.size + self.offset.size

    def by_channel(self, channels: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Factor and offset as one number a channel; None where they vary otherwise."""
        both = []
        for values in (self.factor, self.offset):
            rows = values.reshape(-1, values.shape[-1] if values.ndim else 1)
            if not (rows == rows[0]).all() or rows.shape[1] not in (1, channels):
                return None
            both.append(np.broadcast_to(rows[0], (channels,)))
        return both[0], both[1]

    def shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        for values in (self.factor, self.offset):
            require(
                values.ndim <= len(shape)
                and all(a in (1, b) for a, b in zip(values.shape[::-1], shape[::-1])),
                f"a constant of shape {written(values.shape)} on shape {written(shape)}",
            )
        return shape

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        return inputs[0] * self.factor.astype(np.float32) + self.offset.astype(np.float32)


@dataclass(frozen=True, eq=False)
class PRelu(FloatOperator):
    """``max(x, 0) + slope * min(x, 0)`` with a slope for each channel (float64, broadcasts)."""

    slope: np.ndarray

    @property
    def parameters(self) -> int:
        return self.slope.size

    def shape(self, *shapes: Shape) -> Shape:
        return Affine(self.slope, self.slope).shape(*shapes)

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        return np.where(x < 0, x * self.slope.astype(np.float32), x)


class BinaryKind(str, Enum):
    """Functions of two tensors, element by element."""

    ADD = "add"
    SUB = "sub"
    MUL = "mul"
    MAXIMUM = "maximum"
    MINIMUM = "minimum"


_BINARY: dict[BinaryKind, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    BinaryKind.ADD: np.add,
    BinaryKind.SUB: np.subtract,
    BinaryKind.MUL: np.multiply,
    BinaryKind.MAXIMUM: np.maximum,
    BinaryKind.MINIMUM: np.minimum,
}


@dataclass(frozen=True)
class Binary(FloatOperator):
    """A function of two tensors, element by element; axes of size 1 are repeated."""

    function: BinaryKind

    @property
    def kind(self) -> str:
        return self.function.value

    def shape(self, *shapes: Shape) -> Shape:
        first, second = shapes
        fits = len(first) == len(second) and all(
            a == b or 1 in (a, b) for a, b in zip(first, second)
        )
        require(fits, f"shapes {written(first)} and {written(second)} do not fit")
        return tuple(map(max, first, second))

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        return _BINARY[self.function](*inputs)
