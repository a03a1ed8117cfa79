"""Dropout."""

from __future__ import annotations

import numpy as np

from model.training.layers.layer import Layer

__all__ = ["Dropout"]


class Dropout(Layer):
    """Set each value to 0 with probability `share` in training, and scale up the others.

    y = x k / (1 - share), dx = dy k / (1 - share), where k is 0 or 1, drawn for each value.

    The mean does not change, so the layer does nothing outside of training and on the board.

    Source: Srivastava et al., "Dropout" (2014), section 4, in the scaled form of its section 10.

    Parameters
    ----------
    share : float
        At least 0, below 1.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        if not 0 <= share < 1:
            raise ValueError(f"the share that is dropped must be in 0 .. 1, 1 excluded: {share!r}")
        self.share = share
        self._factor: np.ndarray | None = None

    def forward(self, x: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        if rng is None:
            self._factor = None
            return x
        kept = rng.random(x.shape, np.float32) >= self.share
        self._factor = kept.astype(x.dtype) * x.dtype.type(1 / (1 - self.share))
        return x * self._factor

    def backward(self, dy: np.ndarray, input_gradient: bool = True) -> np.ndarray | None:
        return dy if self._factor is None else dy * self._factor
