"""The 4×4 black-and-white pictures of the paper's task, made rather than collected.

Four classes: a cross, a ring, a horizontal line, a vertical line. Cross and ring come in 3×3 at each
of four places, and in 4×4; lines at each of four places. Noise turns over up to one pixel, white to
black or black to white. Clean shapes of different classes differ in five pixels or more, so that noise
makes none of them ambiguous.

After "Pattern Recognition using Convolutional Neural Networks in Python" (Chan, Fallar, Ramos,
Sese; De La Salle University), whose picture is the 4×4 cross.
"""

from __future__ import annotations

import numpy as np

__all__ = ["LABELS", "SIDE", "generate", "shapes"]

SIDE = 4
LABELS = ("cross", "ring", "horizontal", "vertical")

_NOISY_SHARE = 0.75
"""Share of the pictures in which one pixel is turned over."""


def _cross(side: int) -> np.ndarray:
    return np.eye(side, dtype=bool) | np.eye(side, dtype=bool)[::-1]


def _ring(side: int) -> np.ndarray:
    ring = np.ones((side, side), bool)
    ring[1:-1, 1:-1] = False
    return ring


def _shifted(shape: np.ndarray) -> list[np.ndarray]:
    """The shape at every place where it lies wholly in the picture."""
    height, width = shape.shape
    places = []
    for top in range(SIDE - height + 1):
        for left in range(SIDE - width + 1):
            picture = np.zeros((SIDE, SIDE), bool)
            picture[top : top + height, left : left + width] = shape
            places.append(picture)
    return places


def shapes() -> tuple[list[np.ndarray], ...]:
    """All clean pictures of each class, as arrays of bool, shape (4, 4), in the order of `LABELS`."""
    return (
        _shifted(_cross(4)) + _shifted(_cross(3)),
        _shifted(_ring(4)) + _shifted(_ring(3)),
        _shifted(np.ones((1, SIDE), bool)),
        _shifted(np.ones((SIDE, 1), bool)),
    )


def generate(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw pictures, classes in turn, so that each is there equally often.

    Parameters
    ----------
    count : int
    rng : numpy.random.Generator

    Returns
    -------
    x : ndarray of uint8, shape (count, 4, 4, 1)
        0 or 255.
    y : ndarray of int64, shape (count,)
    """
    clean = shapes()
    y = np.arange(count) % len(LABELS)
    x = np.zeros((count, SIDE, SIDE), bool)
    for picture, label in zip(x, y):
        choices = clean[label]
        picture[...] = choices[int(rng.integers(len(choices)))]
        if rng.random() < _NOISY_SHARE:
            pixel = tuple(rng.integers(SIDE, size=2))
            picture[pixel] = ~picture[pixel]
    return (x[..., np.newaxis] * np.uint8(255)).astype(np.uint8), y
