"""The base classes of all layers, and of those with weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np

__all__ = [
    "Layer",
    "Shape",
    "Weighted",
    "add_by_channel",
    "by_pixel",
    "he_normal",
    "repeated",
    "sum_by_channel",
]

Shape = tuple[int, ...]


class Layer(ABC):
    """A layer of a network.

    Attributes
    ----------
    parameters : dict of str to ndarray
        The arrays that training changes, in place. Empty before `build`, and for layers that do not
        learn.
    gradients : dict of str to ndarray
        Gradient of the loss by each parameter, summed since `clear_gradients`.
    state : dict of str to ndarray
        Arrays that training updates, in place, without a gradient: the running means of a
        `BatchNorm`.
    children : tuple of Layer
        The layers that this one consists of, if any.
    """

    def __init__(self) -> None:
        self.parameters: dict[str, np.ndarray] = {}
        self.gradients: dict[str, np.ndarray] = {}
        self.state: dict[str, np.ndarray] = {}
        self.children: tuple[Layer, ...] = ()
        self._buffers: dict[str, np.ndarray] = {}

    def build(self, shape: Shape, rng: np.random.Generator) -> Shape:
        """Make the parameters for inputs of `shape` (without the batch), and return the output's
        shape."""
        return shape

    @abstractmethod
    def forward(self, x: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """Return the layer's output, valid until the next call, and keep what `backward` needs.

        Only training passes `rng`: `Dropout` then draws from it, and `BatchNorm` uses the batch's
        statistics.
        """

    @abstractmethod
    def backward(self, dy: np.ndarray, input_gradient: bool = True) -> np.ndarray | None:
        """Return the gradient by the input, given the gradient `dy` by the output of the last
        `forward`.

        With ``input_gradient=False``, which saves the first layer of a network that work, return
        None.
        """

    def clear_gradients(self) -> None:
        """Set all gradients to zero."""
        for gradient in self.gradients.values():
            gradient.fill(0)

    def walk(self) -> Iterator[Layer]:
        """Yield this layer, and those that it consists of."""
        yield self
        for child in self.children:
            yield from child.walk()

    def _buffer(self, use: str, shape: Shape, dtype: np.dtype) -> np.ndarray:
        """Return the array of the last call for this use, unchanged, if it fits; else one of zeros.

        New memory is slow: the system clears each page of it, and the cache does not hold it.
        """
        buffer = self._buffers.get(use)
        if buffer is None or buffer.shape != shape or buffer.dtype != dtype:
            buffer = self._buffers[use] = np.zeros(shape, dtype)
        return buffer

    def _learn(self, **parameters: np.ndarray) -> None:
        self.parameters = parameters
        self.gradients = {name: np.zeros_like(value) for name, value in parameters.items()}


class Weighted(Layer):
    """A layer that is linear in its weights: y = linear(x, w) + b.

    A subclass implements the linear part and its two gradients. The weights are an argument, so
    that quantisation-aware training can pass integers instead. This class adds the bias; db is the
    sum of dy over all axes but the channels.

    Parameters
    ----------
    bias : bool
        Whether there is a bias. A layer before a `BatchNorm`, which has its own, needs none.

    Attributes
    ----------
    parameters
        ``weights``, whose last axis is the output channel, and ``bias`` (output channels,).
    """

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.has_bias = bias

    @abstractmethod
    def linear(self, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return the output without the bias, and keep what the gradients need of `x`."""

    @abstractmethod
    def weights_gradient(self, dy: np.ndarray) -> np.ndarray:
        """Gradient by the weights, given that by the output of the last `linear`."""

    @abstractmethod
    def input_gradient(self, dy: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Gradient by the input, given that by the output of the last `linear`."""

    def forward(self, x: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        y = self.linear(x, self.parameters["weights"])
        if self.has_bias:
            add_by_channel(y, self.parameters["bias"])
        return y

    def backward(self, dy: np.ndarray, input_gradient: bool = True) -> np.ndarray | None:
        self.gradients["weights"] += self.weights_gradient(dy)
        if self.has_bias:
            self.gradients["bias"] += sum_by_channel(dy)
        return self.input_gradient(dy, self.parameters["weights"]) if input_gradient else None

    def replace(self, weights: np.ndarray, bias: np.ndarray) -> None:
        """Replace the parameters; from now on there is a bias."""
        self.has_bias = True
        self._learn(weights=weights, bias=bias)

    def _start(self, rng: np.random.Generator, weights: Shape, fan_in: int) -> None:
        """Make weights of this shape, whose last axis is the output channel, and biases of 0."""
        parameters = {"weights": he_normal(rng, weights, fan_in)}
        if self.has_bias:
            parameters["bias"] = np.zeros(weights[-1], np.float32)
        self._learn(**parameters)


def he_normal(rng: np.random.Generator, shape: Shape, fan_in: int) -> np.ndarray:
    """Normal weights of variance 2 / fan_in, which keep the size of activations through layers with
    ReLU.

    Source: He et al., "Delving Deep into Rectifiers" (2015), equation 10.
    """
    return (rng.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)


# NumPy would add a row of 8 or 16 channels to each pixel in a short loop. The axes of pictures and
# channels are adjacent in memory; as one axis, they make the loops long.


def by_pixel(x: np.ndarray) -> np.ndarray:
    """A view of (H, W, N, C) as (H * W, N * C); other shapes stay as they are."""
    return x.reshape(-1, x.shape[2] * x.shape[3]) if x.ndim == 4 else x


def repeated(values: np.ndarray, x: np.ndarray) -> np.ndarray:
    """One number for each channel, repeated to fit a row of ``by_pixel(x)``."""
    return np.tile(values, x.shape[2]) if x.ndim == 4 else values


def add_by_channel(y: np.ndarray, values: np.ndarray) -> None:
    """Add a number to each channel, in place."""
    pixels = by_pixel(y)
    pixels += repeated(values, y)


def sum_by_channel(x: np.ndarray) -> np.ndarray:
    """Sum over all axes but the channels, the last."""
    pixels = by_pixel(x)
    # The sum is a product with ones, for BLAS.
    return (np.ones(len(pixels), x.dtype) @ pixels).reshape(-1, x.shape[-1]).sum(axis=0)
