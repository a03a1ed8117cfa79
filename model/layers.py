"""The layers of a network in floating point: what each computes, and its true gradient.

Every layer has a `forward`, and a `backward` that takes the loss's gradient by the layer's output
and returns the gradient by its input, adding up the gradients of its parameters on the way. That
is the chain rule, one link at a time; `model.network` joins the links.

Pictures are float32 arrays of shape (H, W, N, C): height, width, picture of the batch, channel.
With the batch inside, the pixels that a shifted window covers lie in long contiguous runs, which
is what makes NumPy fast here. After `Flatten`, arrays have shape (N, features).

Sources: Goodfellow, Bengio, Courville, "Deep Learning" (2016), 6.5 for back-propagation and 9 for
convolution and pooling; He et al., "Delving Deep into Rectifiers" (2015), for the starting weights.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import prod

import numpy as np

from model.errors import ModelError
from model.geometry import extent
from model.graph import Padding

__all__ = ["Conv2D", "Dense", "Flatten", "Layer", "MaxPool2D", "ReLU", "Sigmoid"]

Shape = tuple[int, ...]


class Layer(ABC):
    """One link of the chain.

    Attributes
    ----------
    parameters : dict of str to ndarray
        What training changes, in place. Empty before `build`, and for layers that learn nothing.
    gradients : dict of str to ndarray
        Gradient of the loss by each parameter, summed since `clear_gradients`.
    """

    def __init__(self) -> None:
        self.parameters: dict[str, np.ndarray] = {}
        self.gradients: dict[str, np.ndarray] = {}

    def build(self, shape: Shape, rng: np.random.Generator) -> Shape:
        """Make the parameters for inputs of `shape`, without the batch; return the output's."""
        return shape

    @abstractmethod
    def forward(self, x: np.ndarray) -> np.ndarray:
        """The layer's output; keeps what `backward` will need."""

    @abstractmethod
    def backward(self, dy: np.ndarray, input_gradient: bool = True) -> np.ndarray | None:
        """Gradient by the input, given the gradient `dy` by the output of the last `forward`.

        The first layer of a network spares the work with ``input_gradient=False`` and returns None.
        """

    def clear_gradients(self) -> None:
        """Set all gradients to zero."""
        for gradient in self.gradients.values():
            gradient.fill(0)

    def _learn(self, **parameters: np.ndarray) -> None:
        self.parameters = parameters
        self.gradients = {name: np.zeros_like(value) for name, value in parameters.items()}


def _he_normal(rng: np.random.Generator, shape: Shape, fan_in: int) -> np.ndarray:
    """Normal with variance 2 / fan_in: keeps the size of activations through layers with ReLU."""
    return (rng.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)


class _Windowed(Layer):
    """A kernel that slides over a picture.

    Parameters
    ----------
    kernel : tuple of int
        Rows and columns.
    stride : tuple of int
        Rows and columns between windows.
    padding : Padding
    """

    def __init__(self, kernel: tuple[int, int], stride: tuple[int, int], padding: Padding) -> None:
        super().__init__()
        if min(*kernel, *stride) < 1:
            raise ValueError(f"kernel and stride must be at least 1, not {kernel!r} and {stride!r}")
        self.kernel = kernel
        self.stride = stride
        self.padding = padding
        self._edges: tuple[tuple[int, int], ...] = ()
        self._pixels: tuple[int, int] = (0, 0)

    def _slide(self, shape: Shape) -> tuple[int, int]:
        """Work out output rows and columns for pictures of `shape`, and the padding."""
        if len(shape) != 3:
            raise ModelError(f"{type(self).__name__} needs pictures of HxWxC, not shape {shape}")
        rows, columns = (
            extent(size, kernel, stride, 1, self.padding)
            for size, kernel, stride in zip(shape, self.kernel, self.stride)
        )
        if rows.positions < 1 or columns.positions < 1:
            raise ModelError(f"a {self.kernel} window does not fit into {shape[:2]} pixels")
        self._edges = ((rows.before, rows.after), (columns.before, columns.after), (0, 0), (0, 0))
        self._pixels = rows.positions, columns.positions
        return self._pixels

    def _pad(self, x: np.ndarray, value: float) -> np.ndarray:
        return np.pad(x, self._edges, constant_values=value) if np.any(self._edges) else x

    def _unpad(self, padded: np.ndarray) -> np.ndarray:
        (top, bottom), (left, right), *_ = self._edges
        height, width = padded.shape[:2]
        return padded[top : height - bottom, left : width - right]

    def _tap(self, i: int, j: int) -> tuple[slice, slice]:
        """Rows and columns of the padded picture that tap (i, j) meets, one for each window."""
        (rows, columns), (down, right) = self._pixels, self.stride
        return (
            slice(i, i + (rows - 1) * down + 1, down),
            slice(j, j + (columns - 1) * right + 1, right),
        )

    def _taps(self) -> list[tuple[int, int]]:
        return [(i, j) for i in range(self.kernel[0]) for j in range(self.kernel[1])]


class Conv2D(_Windowed):
    """Convolution, as networks mean it: cross-correlation.

    y[p, q, n, o] = b[o] + sum over i, j, c of x[p s + i, q t + j, n, c] w[i, j, c, o]

    with stride (s, t) and zeros outside of the picture. Hence the gradients

    dw[i, j, c, o] = sum over p, q, n of x[p s + i, q t + j, n, c] dy[p, q, n, o]
    db[o] = sum over p, q, n of dy[p, q, n, o]
    dx[p s + i, q t + j, n, c] += sum over o of dy[p, q, n, o] w[i, j, c, o], for each p, q, i, j

    Forward is one matrix product of all windows, laid out as rows (im2col); the input's gradient is
    one small product for each tap, added into a shifted slice.

    Parameters
    ----------
    filters : int
        Output channels.
    kernel : int or tuple of int
    stride : int
    padding : Padding

    Attributes
    ----------
    parameters
        ``weights`` (kernel rows, kernel columns, input channels, filters) and ``bias`` (filters,).
    """

    def __init__(
        self,
        filters: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: Padding = Padding.SAME,
    ) -> None:
        super().__init__(
            (kernel, kernel) if isinstance(kernel, int) else kernel, (stride, stride), padding
        )
        if filters < 1:
            raise ValueError(f"filters must be at least 1, not {filters!r}")
        self.filters = filters
        self._columns = np.empty(0, np.float32)
        self._padded_shape: Shape = ()

    def build(self, shape: Shape, rng: np.random.Generator) -> Shape:
        pixels = self._slide(shape)
        weights = (*self.kernel, shape[2], self.filters)
        self._learn(
            weights=_he_normal(rng, weights, prod(weights[:3])),
            bias=np.zeros(self.filters, np.float32),
        )
        return (*pixels, self.filters)

    def forward(self, x: np.ndarray) -> np.ndarray:
        weights, bias = self.parameters["weights"], self.parameters["bias"]
        padded = self._pad(x, 0)
        _, _, count, channels = x.shape
        shape = (*self._pixels, count, *self.kernel, channels)
        if self._columns.shape != shape:
            self._columns = np.empty(shape, weights.dtype)
        for i, j in self._taps():
            self._columns[:, :, :, i, j] = padded[self._tap(i, j)]
        self._padded_shape = padded.shape
        rows = self._columns.reshape(-1, prod(weights.shape[:3]))
        y = rows @ weights.reshape(-1, self.filters)
        y += bias
        return y.reshape(*self._pixels, count, self.filters)

    def backward(self, dy: np.ndarray, input_gradient: bool = True) -> np.ndarray | None:
        weights = self.parameters["weights"]
        rows = self._columns.reshape(-1, prod(weights.shape[:3]))
        dy_rows = dy.reshape(-1, self.filters)
        self.gradients["weights"] += (rows.T @ dy_rows).reshape(weights.shape)
        self.gradients["bias"] += dy_rows.sum(axis=0)
        if not input_gradient:
            return None
        dx = np.zeros(self._padded_shape, dy.dtype)
        for i, j in self._taps():
            contribution = dy_rows @ weights[i, j].T
            dx[self._tap(i, j)] += contribution.reshape(*dy.shape[:3], -1)
        return self._unpad(dx)


class MaxPool2D(_Windowed):
    """The largest value under each window, channel by channel.

    The gradient goes to the pixel that was the largest; among equals, to the first.

    Parameters
    ----------
    kernel : int
    stride : int, optional
        As the kernel unless given.
    padding : Padding
        Padding never wins.
    """

    def __init__(
        self, kernel: int = 2, stride: int | None = None, padding: Padding = Padding.VALID
    ) -> None:
        step = kernel if stride is None else stride
        super().__init__((kernel, kernel), (step, step), padding)
        self._padded = np.empty(0, np.float32)
        self._largest = np.empty(0, np.float32)

    def build(self, shape: Shape, rng: np.random.Generator) -> Shape:
        return (*self._slide(shape), shape[2])

    def forward(self, x: np.ndarray) -> np.ndarray:
        self._padded = self._pad(x, -np.inf)
        self._largest = self._padded[self._tap(0, 0)].copy()
        for i, j in self._taps()[1:]:
            np.maximum(self._largest, self._padded[self._tap(i, j)], out=self._largest)
        return self._largest

    def backward(self, dy: np.ndarray, input_gradient: bool = True) -> np.ndarray | None:
        dx = np.zeros(self._padded.shape, dy.dtype)
        open_windows = np.ones(dy.shape, bool)
        for i, j in self._taps():
            tap = self._tap(i, j)
            wins = (self._padded[tap] == self._largest) & open_windows
            dx[tap] += dy * wins
            open_windows &= ~wins
        return self._unpad(dx)


class Dense(Layer):
    """Fully connected: every output sees every input.

    y = x w + b, hence dw = x' dy, db = sum of dy over the batch, dx = dy w'.

    Parameters
    ----------
    units : int
        Outputs.

    Attributes
    ----------
    parameters
        ``weights`` (inputs, units) and ``bias`` (units,).
    """

    def __init__(self, units: int) -> None:
        super().__init__()
        if units < 1:
            raise ValueError(f"units must be at least 1, not {units!r}")
        self.units = units
        self._x = np.empty(0, np.float32)

    def build(self, shape: Shape, rng: np.random.Generator) -> Shape:
        if len(shape) != 1:
            raise ModelError(f"Dense needs a row of features, not shape {shape}")
        self._learn(
            weights=_he_normal(rng, (shape[0], self.units), shape[0]),
            bias=np.zeros(self.units, np.float32),
        )
        return (self.units,)

    def forward(self, x: np.ndarray) -> np.ndarray:
        self._x = x
        return x @ self.parameters["weights"] + self.parameters["bias"]

    def backward(self, dy: np.ndarray, input_gradient: bool = True) -> np.ndarray | None:
        self.gradients["weights"] += self._x.T @ dy
        self.gradients["bias"] += dy.sum(axis=0)
        return dy @ self.parameters["weights"].T if input_gradient else None


class ReLU(Layer):
    """y = max(x, 0); dx = dy where y > 0, else 0."""

    def __init__(self) -> None:
        super().__init__()
        self._y = np.empty(0, np.float32)

    def forward(self, x: np.ndarray) -> np.ndarray:
        self._y = np.maximum(x, 0)
        return self._y

    def backward(self, dy: np.ndarray, input_gradient: bool = True) -> np.ndarray | None:
        return dy * (self._y > 0)


class Sigmoid(Layer):
    """y = 1 / (1 + exp(-x)); dx = dy y (1 - y)."""

    def __init__(self) -> None:
        super().__init__()
        self._y: np.ndarray = np.empty(0, np.float32)

    def forward(self, x: np.ndarray) -> np.ndarray:
        # by way of tanh, which overflows for no x: sigmoid(x) = (1 + tanh(x / 2)) / 2
        self._y = (np.tanh(x * 0.5) + 1) * 0.5
        return self._y

    def backward(self, dy: np.ndarray, input_gradient: bool = True) -> np.ndarray | None:
        return dy * (self._y * (1 - self._y))


class Flatten(Layer):
    """Pictures (H, W, N, C) to rows (N, H * W * C): features by row, column, then channel."""

    def __init__(self) -> None:
        super().__init__()
        self._shape: Shape = ()

    def build(self, shape: Shape, rng: np.random.Generator) -> Shape:
        return (prod(shape),)

    def forward(self, x: np.ndarray) -> np.ndarray:
        self._shape = x.shape
        return np.moveaxis(x, 2, 0).reshape(x.shape[2], -1)

    def backward(self, dy: np.ndarray, input_gradient: bool = True) -> np.ndarray | None:
        height, width, count, channels = self._shape
        return np.moveaxis(dy.reshape(count, height, width, channels), 0, 2)
