"""A network: a chain of layers. A `Residual`, which consists of layers, makes branches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from model.training.layers import Layer

__all__ = ["Network", "to_float"]

_CHUNK = 64
"""Pictures computed at once when no gradient is needed."""


class Network:
    """A sequence of layers, the last of which gives logits.

    Parameters
    ----------
    layers : sequence of Layer
    shape : tuple of int
        Height, width and channels of a picture.
    rng : numpy.random.Generator
        Draws the starting weights.

    Attributes
    ----------
    layers : tuple of Layer
    shape : tuple of int
    classes : int
        Number of logits.
    """

    def __init__(
        self, layers: Sequence[Layer], shape: tuple[int, ...], rng: np.random.Generator
    ) -> None:
        self.layers = tuple(layers)
        self.shape = shape
        for layer in self.layers:
            shape = layer.build(shape, rng)
        (self.classes,) = shape

    @classmethod
    def of_built(cls, layers: Sequence[Layer], shape: tuple[int, ...], classes: int) -> Network:
        """Make a network of layers that already have their parameters."""
        network = cls.__new__(cls)
        network.layers, network.shape, network.classes = tuple(layers), shape, classes
        return network

    def walk(self) -> Iterator[Layer]:
        """Yield every layer, in order, and after each layer those that it consists of."""
        for layer in self.layers:
            yield from layer.walk()

    @property
    def parameters(self) -> list[np.ndarray]:
        """All parameters, in the order of the layers."""
        return [value for layer in self.walk() for value in layer.parameters.values()]

    @property
    def gradients(self) -> list[np.ndarray]:
        """Gradients of the loss, in the order of `parameters`."""
        return [value for layer in self.walk() for value in layer.gradients.values()]

    @property
    def state(self) -> list[np.ndarray]:
        """All state that training keeps without a gradient, in the order of the layers."""
        return [value for layer in self.walk() for value in layer.state.values()]

    def clear_gradients(self) -> None:
        """Set all gradients to zero, at the beginning of a step."""
        for layer in self.walk():
            layer.clear_gradients()

    def activations(self, x: np.ndarray) -> Iterator[np.ndarray]:
        """Yield each layer's output for pictures `x` of shape (H, W, N, C)."""
        for layer in self.layers:
            x = layer.forward(x)
            yield x

    def forward(self, x: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """Logits (N, classes) of pictures `x` of shape (H, W, N, C). Training passes `rng`."""
        for layer in self.layers:
            x = layer.forward(x, rng)
        return x

    def backward(self, dz: np.ndarray) -> None:
        """Accumulate all gradients, given the gradient `dz` by the logits of the last `forward`."""
        gradient: np.ndarray | None = dz
        for position, layer in reversed(list(enumerate(self.layers))):
            assert gradient is not None
            gradient = layer.backward(gradient, input_gradient=position > 0)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Logits of pictures in a data set's form.

        Parameters
        ----------
        x : ndarray of uint8, shape (N, H, W, C)

        Returns
        -------
        ndarray of float32, shape (N, classes)
        """
        chunks = [
            self.forward(to_float(x[start : start + _CHUNK])) for start in range(0, len(x), _CHUNK)
        ]
        return np.concatenate(chunks) if chunks else np.empty((0, self.classes), np.float32)


def to_float(x: np.ndarray) -> np.ndarray:
    """Convert pixels 0 .. 255 of shape (N, H, W, C) to 0 .. 1 of shape (H, W, N, C), contiguous."""
    pixels = np.ascontiguousarray(np.moveaxis(x, 0, 2), np.float32)
    pixels /= np.float32(255)
    return pixels
