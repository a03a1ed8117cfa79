"""The operators of a float graph: what each computes, in float32.

Arrays have the batch in front; pictures are (n, height, width, channels). An operator is frozen
plain data; `shape` works out its output's shape, without the batch, and refuses inputs that do not
fit; `forward` computes.

Sources: the operators of ONNX, https://onnx.ai/onnx/operators/, whose outputs these are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from math import erf, inf, pi, prod

import numpy as np

from model.errors import ModelError
from model.int8.geometry import extent
from model.int8.graph import Padding

__all__ = [
    "FUNCTIONS",
    "Affine",
    "AveragePool",
    "Binary",
    "BinaryKind",
    "Concatenation",
    "Convolution",
    "Dense",
    "FloatOperator",
    "Function",
    "MaxPool",
    "Nearest",
    "Pad",
    "PRelu",
    "Reduction",
    "ReductionKind",
    "Reshape",
    "Resize",
    "Sampling",
    "Shape",
    "Slice",
    "Softmax",
    "Transpose",
    "TransposedConvolution",
    "Window",
]

Shape = tuple[int, ...]

_MAX_MACS = 1 << 33
"""Products of one layer on one picture."""

_MAX_PADDED = 1 << 26


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


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise ModelError(reason)


def _picture(shape: Shape) -> tuple[int, int, int]:
    _require(len(shape) == 3, f"needs pictures, not shape {_text(shape)}")
    return shape[0], shape[1], shape[2]


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape))


@dataclass(frozen=True)
class Window:
    """A kernel that slides over a picture, with its padding spelt out.

    Attributes
    ----------
    kernel, stride, dilation : tuple of int
        Along rows and columns.
    pads : tuple of int
        Rows and columns beyond the picture: top, left, bottom, right.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)

    def positions(self, shape: Shape) -> tuple[int, int]:
        """Output rows and columns on a picture of `shape`."""
        height, width, channels = _picture(shape)
        top, left, bottom, right = self.pads
        _require(min(*self.kernel, *self.stride, *self.dilation) >= 1, "a kernel or stride below 1")
        _require(min(self.pads) >= 0, f"padding of {min(self.pads)}")
        padded = (height + top + bottom, width + left + right)
        _require(prod(padded) * channels <= _MAX_PADDED, "its padded picture is too large")
        rows, columns = (
            (size - (kernel - 1) * dilation - 1) // stride + 1
            for size, kernel, stride, dilation in zip(
                padded, self.kernel, self.stride, self.dilation
            )
        )
        _require(
            rows >= 1 and columns >= 1,
            f"a {_text(self.kernel)} window does not fit into {height}x{width} pixels",
        )
        return rows, columns

    def is_same(self, shape: Shape) -> bool:
        """Whether the padding is what TensorFlow's SAME gives on a picture of `shape`."""
        positions = self.positions(shape)
        for axis in (0, 1):
            found = extent(
                shape[axis],
                self.kernel[axis],
                self.stride[axis],
                self.dilation[axis],
                Padding.SAME,
            )
            # Padding behind the last window does nothing.
            if (found.positions, found.before) != (positions[axis], self.pads[axis]):
                return False
        return True

    def taps(self, positions: tuple[int, int]) -> Iterator[tuple[int, int, slice, slice]]:
        """Yield (kernel row, kernel column, rows, columns) of the padded picture for each tap."""
        for i in range(self.kernel[0]):
            for j in range(self.kernel[1]):
                y, x = i * self.dilation[0], j * self.dilation[1]
                yield (
                    i,
                    j,
                    slice(y, y + (positions[0] - 1) * self.stride[0] + 1, self.stride[0]),
                    slice(x, x + (positions[1] - 1) * self.stride[1] + 1, self.stride[1]),
                )

    def padded(self, x: np.ndarray, value: float) -> np.ndarray:
        """`x` with `value` around it."""
        top, left, bottom, right = self.pads
        if not any(self.pads):
            return x
        return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)


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
        _require(self.weights.shape[:2] == self.window.kernel, "its kernel is not its weights'")
        _require(
            shape[2] == inputs * self.groups,
            f"weights for {inputs * self.groups} input channels on {shape[2]}",
        )
        _require(outputs % self.groups == 0, f"{outputs} output channels in {self.groups} groups")
        _require(self.bias.shape == (outputs,), f"{self.bias.size} biases for {outputs} channels")
        _require(rows * columns * self.weights.size <= _MAX_MACS, "is too large to compute")
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

    def dense_weights(self) -> np.ndarray:
        """The same weights for all input channels, zero where a group does not look."""
        if self.groups == 1:
            return self.weights
        rows, columns, inputs, outputs = self.weights.shape
        weights = np.zeros((rows, columns, inputs * self.groups, outputs))
        for inside, outside in self.slices():
            weights[:, :, inside, outside] = self.weights[..., outside]
        return weights


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
        height, width, channels = _picture(shapes[0])
        _require(
            self.weights.shape[2] == channels,
            f"weights for {self.weights.shape[2]} input channels on {channels}",
        )
        top, left, bottom, right = self.crop
        _require(min(top, left) >= 0 and min(self.stride) >= 1, "padding or stride that cannot be")
        rows = (height - 1) * self.stride[0] + self.weights.shape[0] - top - bottom
        columns = (width - 1) * self.stride[1] + self.weights.shape[1] - left - right
        _require(height * width * self.weights.size <= _MAX_MACS, "is too large to compute")
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
        _require(len(shape) == 1, f"needs a vector, not shape {_text(shape)}")
        _require(
            shape[0] == len(self.weights), f"weights for {len(self.weights)} inputs on {shape[0]}"
        )
        return (self.weights.shape[1],)

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        return inputs[0] @ self.weights.astype(np.float32) + self.bias.astype(np.float32)


@dataclass(frozen=True, eq=False)
class Affine(FloatOperator):
    """``x * factor + offset``, float64 arrays that broadcast to the input's shape."""

    factor: np.ndarray
    offset: np.ndarray

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
            _require(
                values.ndim <= len(shape)
                and all(a in (1, b) for a, b in zip(values.shape[::-1], shape[::-1])),
                f"a constant of shape {_text(values.shape)} on shape {_text(shape)}",
            )
        return shape

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        return inputs[0] * self.factor.astype(np.float32) + self.offset.astype(np.float32)


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
        _require(all(0 <= axis < len(shape) for axis in self.axes), f"no axes {self.axes}")
        return tuple(1 if axis in self.axes else size for axis, size in enumerate(shape))

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        axes = tuple(axis + 1 for axis in self.axes)
        reduce = getattr(np, self.reduction.value)
        return reduce(inputs[0], axis=axes, keepdims=True)


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
        _require(fits, f"shapes {_text(first)} and {_text(second)} do not fit")
        return tuple(map(max, first, second))

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        return _BINARY[self.function](*inputs)


@dataclass(frozen=True)
class Concatenation(FloatOperator):
    """Tensors one behind the other along an axis, counted without the batch."""

    axis: int

    def shape(self, *shapes: Shape) -> Shape:
        first = shapes[0]
        _require(0 <= self.axis < len(first), f"no axis {self.axis}")
        for shape in shapes:
            alike = len(shape) == len(first) and all(
                a == b for i, (a, b) in enumerate(zip(shape, first)) if i != self.axis
            )
            _require(alike, f"shapes {_text(first)} and {_text(shape)} do not fit")
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
        _require(inside, f"takes what is not in shape {_text(shape)}")
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
        _require(len(self.pads) == len(shape), f"padding for {len(self.pads)} axes")
        _require(all(min(pair) >= 0 for pair in self.pads), "padding below 0")
        return tuple(size + sum(pair) for size, pair in zip(shape, self.pads))

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        return np.pad(inputs[0], ((0, 0), *self.pads), constant_values=self.value)


class Sampling(str, Enum):
    """How a resized picture takes its pixels.

    Output pixel i lies at (i + 0.5) * in / out - 0.5, or at i * in / out, or at
    i * (in - 1) / (out - 1).
    """

    HALF_PIXEL = "half_pixel"
    ASYMMETRIC = "asymmetric"
    ALIGN_CORNERS = "align_corners"


class Nearest(str, Enum):
    """Which pixel is the nearest of a place between two: that below, or by rounding."""

    FLOOR = "floor"
    HALF_DOWN = "round_prefer_floor"
    HALF_UP = "round_prefer_ceil"


@dataclass(frozen=True)
class Resize(FloatOperator):
    """A picture in another size.

    Attributes
    ----------
    size : tuple of int
        Output rows and columns.
    linear : bool
        Bilinear; else the nearest pixel.
    sampling : Sampling
    rounding : Nearest
        Where it is not bilinear.
    """

    size: tuple[int, int]
    linear: bool
    sampling: Sampling
    rounding: Nearest = Nearest.FLOOR

    def shape(self, *shapes: Shape) -> Shape:
        return (*self.size, _picture(shapes[0])[2])

    def source(self, axis: int, size: int) -> np.ndarray:
        """Where along an axis of `size` pixels each output pixel lies, in float64."""
        count = self.size[axis]
        at = np.arange(count, dtype=np.float64)
        match self.sampling:
            case Sampling.HALF_PIXEL:
                return (at + 0.5) * (size / count) - 0.5
            case Sampling.ASYMMETRIC:
                return at * (size / count)
            case Sampling.ALIGN_CORNERS:
                return at * ((size - 1) / (count - 1)) if count > 1 else at * 0

    def nearest(self, axis: int, size: int) -> np.ndarray:
        """Which pixel along an axis each output pixel takes, where `linear` is not set."""
        at = self.source(axis, size)
        # Exact multiples must not fall below themselves.
        match self.rounding:
            case Nearest.FLOOR:
                chosen = np.floor(at + 1e-9)
            case Nearest.HALF_DOWN:
                chosen = np.ceil(at - 0.5 - 1e-9)
            case Nearest.HALF_UP:
                chosen = np.floor(at + 0.5 + 1e-9)
        return np.clip(chosen, 0, size - 1).astype(np.intp)

    def matrix(self, axis: int, size: int) -> np.ndarray:
        """The share of each pixel along an axis in each output pixel: (outputs, size), float32."""
        shares = np.zeros((self.size[axis], size), np.float32)
        each = np.arange(self.size[axis])
        if not self.linear:
            shares[each, self.nearest(axis, size)] = 1
            return shares
        at = np.clip(self.source(axis, size), 0, size - 1)
        low = np.floor(at).astype(np.intp)
        shares[each, low] = 1 - (at - low)
        shares[each, np.minimum(low + 1, size - 1)] += at - low
        return shares

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        (x,) = inputs
        for axis in (0, 1):
            matrix = self.matrix(axis, x.shape[axis + 1])
            x = np.moveaxis(np.moveaxis(x, axis + 1, -1) @ matrix.T, -1, axis + 1)
        return x


@dataclass(frozen=True)
class Reshape(FloatOperator):
    """The same elements in the same order under another shape."""

    new_shape: Shape

    def shape(self, *shapes: Shape) -> Shape:
        _require(
            prod(shapes[0]) == prod(self.new_shape),
            f"{_text(shapes[0])} does not hold as many as {_text(self.new_shape)}",
        )
        return self.new_shape

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        return inputs[0].reshape(len(inputs[0]), *self.new_shape)


@dataclass(frozen=True)
class Transpose(FloatOperator):
    """Axes in another order, counted without the batch."""

    axes: tuple[int, ...]

    def shape(self, *shapes: Shape) -> Shape:
        _require(sorted(self.axes) == list(range(len(shapes[0]))), f"axes {self.axes}")
        return tuple(shapes[0][axis] for axis in self.axes)

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        return inputs[0].transpose(0, *(axis + 1 for axis in self.axes))


@dataclass(frozen=True)
class Softmax(FloatOperator):
    """Softmax over the last axis."""

    def shape(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        powers = np.exp(inputs[0] - inputs[0].max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)


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


_ERF_AT = np.linspace(-6, 6, 1 << 14)
_ERF = np.array([erf(x) for x in _ERF_AT])


def _erf(x: np.ndarray) -> np.ndarray:
    """erf, interpolated between points so close that the error is below 1e-7."""
    return np.interp(x, _ERF_AT, _ERF).astype(np.float32)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _hard_sigmoid(x: np.ndarray) -> np.ndarray:
    return np.clip(x + 3, 0, 6) / 6


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(x, 0)


def _gelu_by_tanh(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh((2 / pi) ** 0.5 * (x + 0.044715 * x**3)))


FUNCTIONS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "identity": lambda x, _: x,
    "leaky_relu": lambda x, alpha: np.where(x < 0, x * np.float32(alpha), x),
    "elu": lambda x, alpha: np.where(x < 0, np.float32(alpha) * np.expm1(np.minimum(x, 0)), x),
    "sigmoid": lambda x, _: _sigmoid(x),
    "tanh": lambda x, _: np.tanh(x),
    "hard_sigmoid": lambda x, _: _hard_sigmoid(x),
    "hard_swish": lambda x, _: x * _hard_sigmoid(x),
    "silu": lambda x, _: x * _sigmoid(x),
    "gelu": lambda x, _: x * (0.5 + 0.5 * _erf(x * 0.5**0.5)),
    "gelu_by_tanh": lambda x, _: _gelu_by_tanh(x),
    "erf": lambda x, _: _erf(x),
    "exp": lambda x, _: np.exp(x),
    "softplus": lambda x, _: _softplus(x),
    "softsign": lambda x, _: x / (1 + np.abs(x)),
    "mish": lambda x, _: x * np.tanh(_softplus(x)),
    "abs": lambda x, _: np.abs(x),
    "sqrt": lambda x, _: np.sqrt(x),
    "reciprocal": lambda x, _: 1 / x,
}
"""By name, of a value and of `Function.alpha`: the slope of leaky_relu, the size of elu."""


@dataclass(frozen=True)
class Function(FloatOperator):
    """A function of one number, one of `FUNCTIONS`.

    A ReLU or clip on its own is the identity, in a node with a clamp.
    """

    name: str
    alpha: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in FUNCTIONS:
            raise ValueError(f"no function {self.name!r}")

    @property
    def kind(self) -> str:
        return self.name

    def shape(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        return FUNCTIONS[self.name](inputs[0], self.alpha)
