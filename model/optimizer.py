"""How gradients become steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["AdamW", "cosine"]


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
    """

    _BETA_1 = 0.9
    _BETA_2 = 0.999
    _EPSILON = 1e-8

    def __init__(self, parameters: Sequence[np.ndarray], decay: float = 0.0) -> None:
        self._parameters = parameters
        self._decay = decay
        self._mean = [np.zeros_like(value) for value in parameters]
        self._square = [np.zeros_like(value) for value in parameters]
        self._steps = 0

    def step(self, gradients: Sequence[np.ndarray], rate: float) -> None:
        """Move every parameter against its gradient, by the learning rate `rate`."""
        self._steps += 1
        mean_correction = 1 - self._BETA_1**self._steps
        square_correction = 1 - self._BETA_2**self._steps
        for value, gradient, mean, square in zip(
            self._parameters, gradients, self._mean, self._square
        ):
            mean += (1 - self._BETA_1) * (gradient - mean)
            square += (1 - self._BETA_2) * (gradient * gradient - square)
            update = mean / mean_correction
            update /= np.sqrt(square / square_correction) + self._EPSILON
            if value.ndim > 1:
                update += self._decay * value
            value -= rate * update


def cosine(step: int, steps: int, warm_up: int = 0) -> float:
    """Share of the full learning rate at `step` of `steps`: a linear rise, then half a cosine to 0.

    Source: Loshchilov, Hutter, "SGDR" (2017), equation 5, without restarts.
    """
    if step < warm_up:
        return (step + 1) / (warm_up + 1)
    phase = (step - warm_up) / max(1, steps - warm_up)
    return float(0.5 * (1 + np.cos(np.pi * min(1.0, phase))))
