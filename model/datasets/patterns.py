"""The 4×4 black-and-white pictures of the paper's task, which are generated.

The four classes are a cross, a ring, a horizontal line and a vertical line. Cross and ring fill the
picture, and a line has one of four positions. Noise inverts at most one pixel, and makes black a
little brighter and white a little darker, so hardly any two pictures are the same. Clean shapes of
different classes differ in at least six pixels, so noise never makes them ambiguous.

After "Pattern Recognition using Convolutional Neural Networks in Python" (Chan, Fallar, Ramos,
Sese; De La Salle University), whose picture is the 4×4 cross.
"""

from __future__ import annotations

import numpy as np

__all__ = ["LABELS", "SIDE", "generate", "shapes"]

SIDE = 4
LABELS = ("cross", "ring", "horizontal", "vertical")

_FLIPPED_SHARE = 0.75
"""Share of the pictures in which one pixel is inverted."""

_GREY_NOISE = 32
"""Greatest deviation from black and white, of 255."""


def _shifted(shape: np.ndarray) -> list[np.ndarray]:
    """The shape at every position at which it lies completely in the picture."""
    height, width = shape.shape
    places = []
    for top in range(SIDE - height + 1):
        for left in range(SIDE - width + 1):
            picture = np.zeros((SIDE, SIDE), bool)
            picture[top : top + height, left : left + width] = shape
            places.append(picture)
    return places


def shapes() -> tuple[list[np.ndarray], ...]:
    """All clean pictures of each class in `LABELS`, as arrays of bool of shape (4, 4)."""
    cross = np.eye(SIDE, dtype=bool) | np.eye(SIDE, dtype=bool)[::-1]
    ring = np.ones((SIDE, SIDE), bool)
    ring[1:-1, 1:-1] = False
    line = np.ones((1, SIDE), bool)
    return _shifted(cross), _shifted(ring), _shifted(line), _shifted(line.T)


def generate(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw pictures of each class in turn, so that all classes occur equally often.

    Parameters
    ----------
    count : int
    rng : numpy.random.Generator

    Returns
    -------
    x : ndarray of uint8, shape (count, 4, 4, 1)
        Values near 0 or near 255.
    y : ndarray of int64, shape (count,)
    """
    clean = shapes()
    y = np.arange(count) % len(LABELS)
    x = np.zeros((count, SIDE, SIDE), bool)
    for picture, label in zip(x, y):
        choices = clean[label]
        picture[...] = choices[int(rng.integers(len(choices)))]
        if rng.random() < _FLIPPED_SHARE:
            pixel = tuple(rng.integers(SIDE, size=2))
            picture[pixel] = ~picture[pixel]
    noise = rng.integers(_GREY_NOISE, size=x.shape)
    return np.where(x, 255 - noise, noise).astype(np.uint8)[..., np.newaxis], y
