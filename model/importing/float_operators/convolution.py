"""Convolutions, in groups or not, and transposed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from model.importing.float_operators.definition import FloatOperator, Shape, as_picture, require
from model.importing.float_operators.window import Window

__all__ = ["Convolution", "TransposedConvolution"]

_MAX_MACS = 1 << 33
"""Products of one layer on one picture."""


@dataclass(frozen=True, eq=False)
class Convolution(FloatOperator):
    """Convolution, in groups of channels where `groups` is above 1; depthwise at the extreme.

    Attributes
    ----------
    weights : ndarray of float64, shape (rows, columns, input channels / groups, output channels)
        Output channels are ordered by group.
    bias : ndarray of float64, shape (output channels,)
    window : Window
    groups : int
    weight_scale : ndarray or None
        Where the source has quantised the weights already: their scale, or one a channel.
    """

    weights: np.ndarray
    bias: np.ndarray
    window: Window
    groups: int = 1
    weight_scale: np.ndarray | None = None

    @property
    def parameters(self) -> int:
        return self.weights.size + self.bias.size

    @property
    def is_depthwise(self) -> bool:
        """Whether each output channel sees one input channel, of several."""
        return self.groups > 1 and self.weights.shape[2] == 1

    def shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        rows, columns = self.window.positions(shape)
        inputs, outputs = self.weights.shape[2:]
        require(self.weights.shape[:2] == self.window.kernel, "its kernel is not its weights'")
        require(
            shape[2] == inputs * self.groups,
            f"weights for {inputs * self.groups} input channels on {shape[2]}",
        )
        require(outputs % self.groups == 0, f"{outputs} output channels in {self.groups} groups")
        require(self.bias.shape == (outputs,), f"{self.bias.size} biases for {outputs} channels")
        require(rows * columns * self.weights.size <= _MAX_MACS, "is too large to compute")
        return rows, columns, outputs

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        positions = self.window.positions(x.shape[1:])
        x = self.window.padded(x, 0)
        weights = self.weights.astype(np.float32)
        outputs = weights.shape[3]
        y = np.zeros((len(x), *positions, outputs), np.float32)
        for i, j, rows, columns in self.window.taps(positions):
            seen = x[:, rows, columns]
            if self.groups == 1:
                y += seen @ weights[i, j]
            elif self.is_depthwise:
                if outputs > self.groups:
                    seen = np.repeat(seen, outputs // self.groups, axis=3)
                y += seen * weights[i, j, 0]
            else:
                for inside, outside in self.slices():
                    y[..., outside] += seen[..., inside] @ weights[i, j, :, outside]
        return y + self.bias.astype(np.float32)

    def slices(self) -> Iterator[tuple[slice, slice]]:
        """Yield each group's input and output channels."""
        inputs, outputs = self.weights.shape[2], self.weights.shape[3] // self.groups
        for group in range(self.groups):
            yield (
                slice(group * inputs, (group + 1) * inputs),
                slice(group * outputs, (group + 1) * outputs),
            )


@dataclass(frozen=True, eq=False)
class TransposedConvolution(FloatOperator):
    """What a convolution's gradient does: each input pixel adds its kernel to the output.

    Attributes
    ----------
    weights : ndarray of float64, shape (rows, columns, input channels, output channels)
    bias : ndarray of float64, shape (output channels,)
    stride : tuple of int
    crop : tuple of int
        Rows and columns taken away from the full output: top, left, bottom, right. Negative
        numbers at the bottom and right add that many, of which each holds the bias.
    """

    weights: np.ndarray
    bias: np.ndarray
    stride: tuple[int, int]
    crop: tuple[int, int, int, int] = (0, 0, 0, 0)
    weight_scale: np.ndarray | None = None

    @property
    def parameters(self) -> int:
        return self.weights.size + self.bias.size

    def shape(self, *shapes: Shape) -> Shape:
        height, width, channels = as_picture(shapes[0])
        require(
            self.weights.shape[2] == channels,
            f"weights for {self.weights.shape[2]} input channels on {channels}",
        )
        top, left, bottom, right = self.crop
        require(min(top, left) >= 0 and min(self.stride) >= 1, "padding or stride that cannot be")
        rows = (height - 1) * self.stride[0] + self.weights.shape[0] - top - bottom
        columns = (width - 1) * self.stride[1] + self.weights.shape[1] - left - right
        require(height * width * self.weights.size <= _MAX_MACS, "is too large to compute")
        return rows, columns, self.weights.shape[3]

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        _, height, width, _ = x.shape
        rows, columns, channels = self.shape(x.shape[1:])
        top, left, _, _ = self.crop
        kernel_h, kernel_w = self.weights.shape[:2]
        weights = self.weights.astype(np.float32)
        full_h = max((height - 1) * self.stride[0] + kernel_h, rows + top)
        full_w = max((width - 1) * self.stride[1] + kernel_w, columns + left)
        y = np.zeros((len(x), full_h, full_w, channels), np.float32)
        for i in range(kernel_h):
            for j in range(kernel_w):
                y[
                    :,
                    i : i + (height - 1) * self.stride[0] + 1 : self.stride[0],
                    j : j + (width - 1) * self.stride[1] + 1 : self.stride[1],
                ] += x @ weights[i, j]
        return y[:, top : top + rows, left : left + columns] + self.bias.astype(np.float32)
