"""Augmentation: random small changes of the training pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Augmentation"]


@dataclass(frozen=True)
class Augmentation:
    """How far pictures are moved, and how noisy they become.

    Shift, turn and scale are drawn uniformly for each picture.

    Attributes
    ----------
    shift : float
        Greatest shift along rows and columns, in pixels, in either direction.
    turn : float
        Greatest rotation, in degrees, in either direction.
    scale : float
        Greatest change of size, as a share.
    noise : float
        Standard deviation, in grey levels of 0 .. 255, of the normal noise added to each pixel.
    """

    shift: float = 0.0
    turn: float = 0.0
    scale: float = 0.0
    noise: float = 0.0

    def apply(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return changed copies of pictures.

        Parameters
        ----------
        x : ndarray of uint8, shape (n, height, width, channels)
        rng : numpy.random.Generator

        Returns
        -------
        ndarray of uint8
            Same shape. Moved pixels are interpolated between their four nearest neighbours; outside
            of the picture, its edge is repeated.
        """
        if self.shift or self.turn or self.scale:
            x = self._move(x, rng)
        if self.noise:
            noisy = x + self.noise * rng.standard_normal(x.shape, np.float32)
            x = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
        return x

    def _move(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Shift, turn and scale."""
        count, height, width, _ = x.shape
        angle = np.radians(rng.uniform(-self.turn, self.turn, count))
        zoom = 1 + rng.uniform(-self.scale, self.scale, count)
        down, right = rng.uniform(-self.shift, self.shift, (2, count))
        cos, sin = np.cos(angle) / zoom, np.sin(angle) / zoom
        # The origin of each pixel: rotated and scaled about the centre, then shifted.
        y = np.arange(height)[:, np.newaxis] - (height - 1) / 2
        x_ = np.arange(width)[np.newaxis] - (width - 1) / 2
        axes = (slice(None), np.newaxis, np.newaxis)
        from_y = cos[axes] * y - sin[axes] * x_ + (height - 1) / 2 + down[axes]
        from_x = sin[axes] * y + cos[axes] * x_ + (width - 1) / 2 + right[axes]
        return _sample(x, from_y.astype(np.float32), from_x.astype(np.float32))


def _sample(x: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Bilinear interpolation of each picture at (rows, columns), both of shape (n, h, w)."""
    count, height, width, channels = x.shape
    rows = np.clip(rows, 0, height - 1)
    columns = np.clip(columns, 0, width - 1)
    top = np.minimum(rows.astype(np.intp), max(height - 2, 0))
    left = np.minimum(columns.astype(np.intp), max(width - 2, 0))
    down = (rows - top)[..., np.newaxis]
    right = (columns - left)[..., np.newaxis]
    flat = x.reshape(-1, channels)
    corner = (np.arange(count)[:, np.newaxis, np.newaxis] * height + top) * width + left
    below, beside = (width if height > 1 else 0), (1 if width > 1 else 0)
    upper = flat[corner] * (1 - right) + flat[corner + beside] * right
    lower = flat[corner + below] * (1 - right) + flat[corner + below + beside] * right
    return np.rint(upper * (1 - down) + lower * down).astype(np.uint8)
