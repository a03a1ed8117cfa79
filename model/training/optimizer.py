"""The optimiser: turns gradients into steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["AdamW"]


class AdamW:
    """Adam with decoupled weight decay.

    With gradient g of parameter w at step t = 1, 2, ...:

    m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2
    w = w - rate (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + epsilon) + decay w)

    Sources: Kingma, Ba, "Adam" (2015), algorithm 1; Loshchilov, Hutter, "Decoupled Weight Decay
    Regularization" (2019), algorithm 2. Biases, which are one-dimensional, do not decay.

    Parameters
    ----------
    parameters : sequence of ndarray
        Changed in place by `step`.
    decay : float

    Attributes
    ----------
    moments : list of ndarray
        The m of every parameter, then the v of every parameter.
    steps : int
        t, the number of steps so far.
    """

    _BETA_1 = 0.9
    _BETA_2 = 0.999
    _EPSILON = 1e-8

    def __init__(self, parameters: Sequence[np.ndarray], decay: float = 0.0) -> None:
        self._parameters = parameters
        self._decay = decay
        self.moments = [np.zeros_like(value) for value in (*parameters, *parameters)]
        self.steps = 0

    def step(self, gradients: Sequence[np.ndarray], rate: float) -> None:
        """Move every parameter against its gradient, by the learning rate `rate`."""
        self.steps += 1
        mean_correction = 1 - self._BETA_1**self.steps
        square_correction = 1 - self._BETA_2**self.steps
        count = len(self._parameters)
        means, squares = self.moments[:count], self.moments[count:]
        for value, gradient, mean, square in zip(self._parameters, gradients, means, squares):
            mean += (1 - self._BETA_1) * (gradient - mean)
            square += (1 - self._BETA_2) * (gradient * gradient - square)
            update = mean / mean_correction
            update /= np.sqrt(square / square_correction) + self._EPSILON
            if value.ndim > 1:
                update += self._decay * value
            value -= rate * update
