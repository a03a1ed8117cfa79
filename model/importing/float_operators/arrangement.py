"""Parts of tensors, tensors together, and the same elements in another shape or order."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from model.importing.float_operators.definition import FloatOperator, Shape, require
from model.int8.operators.examined import written

__all__ = ["Concatenation", "Pad", "Reshape", "Slice", "Transpose"]


@dataclass(frozen=True)
class Concatenation(FloatOperator):
    """Tensors one behind the other along an axis, counted without the batch."""

    axis: int

    def shape(self, *shapes: Shape) -> Shape:
        first = shapes[0]
        require(0 <= self.axis < len(first), f"no axis {self.axis}")
        for shape in shapes:
            alike = len(shape) == len(first) and all(
                a == b for i, (a, b) in enumerate(zip(shape, first)) if i != self.axis
            )
            require(alike, f"shapes {written(first)} and {written(shape)} do not fit")
        total = sum(shape[self.axis] for shape in shapes)
        return (*first[: self.axis], total, *first[self.axis + 1 :])

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        return np.concatenate(inputs, axis=self.axis + 1)


@dataclass(frozen=True)
class Slice(FloatOperator):
    """A part of a tensor: `begin` to `end`, in steps, along each axis without the batch."""

    begin: tuple[int, ...]
    end: tuple[int, ...]
    step: tuple[int, ...]

    def shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        inside = len(self.begin) == len(self.end) == len(self.step) == len(shape) and all(
            0 <= begin < end <= size and step >= 1
            for begin, end, step, size in zip(self.begin, self.end, self.step, shape)
        )
        require(inside, f"takes what is not in shape {written(shape)}")
        return tuple(
            -(-(end - begin) // step) for begin, end, step in zip(self.begin, self.end, self.step)
        )

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        parts = [slice(*part) for part in zip(self.begin, self.end, self.step)]
        return inputs[0][tuple([slice(None), *parts])]


@dataclass(frozen=True)
class Pad(FloatOperator):
    """Constant values around a tensor: (before, after) for each axis without the batch."""

    pads: tuple[tuple[int, int], ...]
    value: float = 0.0

    def shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        require(len(self.pads) == len(shape), f"padding for {len(self.pads)} axes")
        require(all(min(pair) >= 0 for pair in self.pads), "padding below 0")
        return tuple(size + sum(pair) for size, pair in zip(shape, self.pads))

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        return np.pad(inputs[0], ((0, 0), *self.pads), constant_values=self.value)


@dataclass(frozen=True)
class Reshape(FloatOperator):
    """The same elements in the same order under another shape."""

    new_shape: Shape

    def shape(self, *shapes: Shape) -> Shape:
        require(
            prod(shapes[0]) == prod(self.new_shape),
            f"{written(shapes[0])} does not hold as many as {written(self.new_shape)}",
        )
        return self.new_shape

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        return inputs[0].reshape(len(inputs[0]), *self.new_shape)


@dataclass(frozen=True)
class Transpose(FloatOperator):
    """Axes in another order, counted without the batch."""

    axes: tuple[int, ...]

    def shape(self, *shapes: Shape) -> Shape:
        require(sorted(self.axes) == list(range(len(shapes[0]))), f"axes {self.axes}")
        return tuple(shapes[0][axis] for axis in self.axes)

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        return inputs[0].transpose(0, *(axis + 1 for axis in self.axes))
