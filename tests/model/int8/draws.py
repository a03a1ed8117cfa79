"""What random networks are drawn from."""

from __future__ import annotations

import numpy as np

ZERO_POINTS = (-128, -127, -64, -3, 0, 1, 77, 126, 127)


def pick(rng: np.random.Generator, choices):
    return choices[int(rng.integers(len(choices)))]


def scale(rng: np.random.Generator, low: float = -9, high: float = 1) -> float:
    """Log-uniform in 2**low .. 2**high, as float32."""
    return float(np.float32(2 ** rng.uniform(low, high)))


def weights(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Random, but sometimes all at one end."""
    data = rng.integers(-127, 128, shape)
    if rng.random() < 0.2:
        data[...] = pick(rng, (-127, 127))
    return data


def some_shape(rng: np.random.Generator) -> tuple[int, ...]:
    """Of one to three small dimensions."""
    return tuple(int(size) for size in rng.integers(1, 7, rng.integers(1, 4)))
