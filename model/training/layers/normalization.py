"""Batch normalisation."""

from __future__ import annotations

import numpy as np

from model.training.layers.layer import Layer, Shape, by_pixel, repeated, sum_by_channel

__all__ = ["BatchNorm"]


class BatchNorm(Layer):
    """Normalise every channel to mean 0 and variance 1, then apply a learned scale and shift.

    In training, with mean m and variance v of a channel over all pixels of the current pictures:

    z = (x - m) / sqrt(v + epsilon), y = g z + b

    db = sum of dy, dg = sum of dy z,
    dx = g / sqrt(v + epsilon) (dy - mean of dy - z mean of (dy z))

    because x changes the mean and the variance too. Outside of training, m and v are running means
    from training, and the layer is a fixed scale and shift of each channel, which quantisation
    folds into the layer before: see `model.training.folding`.

    The current pictures are those of one micro-batch, not of the whole batch ("ghost batch
    normalisation"); the noise of the smaller sample does no harm, and often helps.

    Sources: Ioffe, Szegedy, "Batch Normalization" (2015), algorithm 1 and section 3; Hoffer et al.,
    "Train longer, generalize better" (2017), algorithm 1.

    Attributes
    ----------
    parameters
        ``scale`` and ``shift`` (channels,).
    state
        ``mean`` and ``variance`` (channels,).
    """

    EPSILON = 1e-3
    _MOMENTUM = 0.99

    def __init__(self) -> None:
        super().__init__()
        self._trained = False
        self._z: np.ndarray = np.empty(0, np.float32)
        self._inverse: np.ndarray = np.empty(0, np.float32)

    def build(self, shape: Shape, rng: np.random.Generator) -> Shape:
        channels = shape[-1]
        self._learn(scale=np.ones(channels, np.float32), shift=np.zeros(channels, np.float32))
        self.state = {
            "mean": np.zeros(channels, np.float32),
            "variance": np.ones(channels, np.float32),
        }
        return shape

    def forward(self, x: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        self._trained = rng is not None
        mean, variance = self.state["mean"], self.state["variance"]
        if self._trained:
            count = x.size // x.shape[-1]
            mean = sum_by_channel(x) / count
            centred = by_pixel(x) - repeated(mean, x)
            variance = sum_by_channel((centred * centred).reshape(x.shape)) / count
            for running, value in zip(self.state.values(), (mean, variance)):
                running += (1 - self._MOMENTUM) * (value - running)
        self._inverse = 1 / np.sqrt(variance + self.EPSILON)
        z = by_pixel(x) - repeated(mean, x)
        z *= repeated(self._inverse, x)
        self._z = z.reshape(x.shape)
        y = z * repeated(self.parameters["scale"], x)
        y += repeated(self.parameters["shift"], x)
        return y.reshape(x.shape)

    def backward(self, dy: np.ndarray, input_gradient: bool = True) -> np.ndarray | None:
        total, along_z = sum_by_channel(dy), sum_by_channel(dy * self._z)
        self.gradients["shift"] += total
        self.gradients["scale"] += along_z
        if not input_gradient:
            return None
        factor = self.parameters["scale"] * self._inverse
        if not self._trained:
            return dy * factor
        count = dy.size // dy.shape[-1]
        dx = by_pixel(self._z) * repeated(-along_z / count, dy)
        dx += by_pixel(dy)
        dx -= repeated(total / count, dy)
        dx *= repeated(factor, dy)
        return dx.reshape(dy.shape)
