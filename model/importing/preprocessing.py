"""From pixels to the numbers that a float network was trained on, and back into the network.

A network's users normalise pictures before they show them to it: ``(pixel / 255 - mean) / std``.
An int8 network gets the pixel less 128, and nothing is computed before it. So the normalisation
becomes part of the network: the input's scale and zero point hold as much of it as they can, which
is all of it where there is one channel, and the first layer gets what is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.errors import ModelError

__all__ = ["Preprocessing"]


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """``real = pixel * factor + offset``, by channel; pixels are 0 to 255.

    Attributes
    ----------
    factor, offset : ndarray of float64, shape (channels,)
    """

    factor: np.ndarray
    offset: np.ndarray

    @classmethod
    def of(
        cls,
        channels: int,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        span: float = 255.0,
    ) -> Preprocessing:
        """``(pixel / span - mean) / std``, with a number for all channels or one for each.

        Raises
        ------
        ModelError
            If there are neither one nor as many as channels, or a deviation is not above 0.
        """
        both = []
        for what, given in (("mean", mean), ("std", std)):
            values = np.asarray(given, np.float64).ravel()
            if len(values) not in (1, channels):
                raise ModelError(
                    f"{len(values)} numbers for {what}; the model's input has {channels} "
                    f"channel{'s' if channels > 1 else ''}"
                )
            shown = f"{what} of {', '.join(f'{value:g}' for value in values)}"
            if not np.isfinite(values).all():
                raise ModelError(shown)
            if what == "std" and not (values > 0).all():
                raise ModelError(f"{shown}: a deviation is above 0")
            both.append(np.broadcast_to(values, (channels,)))
        return cls(1 / (span * both[1]), -both[0] / both[1])

    def then(self, factor: np.ndarray, offset: np.ndarray) -> Preprocessing:
        """This, followed by ``x * factor + offset``."""
        return Preprocessing(self.factor * factor, self.offset * factor + offset)

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Real values of uint8 pixels (..., channels), float32."""
        return (pixels * self.factor + self.offset).astype(np.float32)

    @property
    def affine(self) -> tuple[float, int]:
        """Scale and zero point of the int8 input, which holds ``pixel - 128``."""
        scale = float(np.float32(np.abs(self.factor).mean()))
        zero = float(np.mean(-self.offset / self.factor))
        return scale, int(np.clip(np.rint(zero), 0, 255)) - 128

    @property
    def rest(self) -> tuple[np.ndarray, np.ndarray]:
        """Factor and offset of each channel that the input's scale and zero point leave over."""
        scale, zero_point = self.affine
        return self.factor / scale, self.offset + self.factor * (zero_point + 128)
