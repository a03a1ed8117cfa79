"""How large a float graph's values get, over typical pictures.

A range from least to greatest loses nothing to clipping and much to rounding, where a few values
lie far out; `Statistics.clipped` cuts it where the mean square of both errors together is least.

Source of the criterion: Banner et al., "Post-training 4-bit quantization of convolution networks
for rapid-deployment" (2019), section 3; here the histogram takes the place of an assumed shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.errors import ModelError
from model.importing.float_graph import MOST, FloatGraph
from model.training.quantization import Range

__all__ = ["Statistics", "calibrate"]

_BINS = 2048
_SHARES = np.linspace(1.0, 0.3, 57)
"""Parts of a range that are tried."""

_LEVELS = 255

_COUNTED = 1 << 16
"""Values of each tensor and chunk of pictures that go into the histogram."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What a tensor's values were.

    Attributes
    ----------
    range : Range
    mean : ndarray of float64
        Of each channel of pictures, or of each entry of a vector.
    largest : ndarray of float64
        Greatest absolute value of each of those.
    counts : ndarray of int
        Histogram over the range, stretched to hold 0.
    """

    range: Range
    mean: np.ndarray
    largest: np.ndarray
    counts: np.ndarray

    def clipped(self) -> Range:
        """The part of the range where rounding and clipping together err least."""
        low, high = min(self.range.low, 0.0), max(self.range.high, 0.0)
        if not high > low:
            return self.range
        values = np.linspace(low, high, len(self.counts))
        total = self.counts.sum()

        def error(low: float, high: float) -> float:
            beyond = np.clip(values, low, high) - values
            rounding = ((high - low) / _LEVELS) ** 2 / 12
            return float((self.counts * beyond**2).sum() + total * rounding)

        best = (error(low, high), low, high)
        # One end, then the other, then the first once more.
        for at_top in (True, False, True):
            _, now_low, now_high = best
            for share in _SHARES:
                pair = (now_low, high * share) if at_top else (low * share, now_high)
                best = min(best, (error(*pair), *pair))
        return Range(best[1], best[2])


Statistics = dict[int, Seen]
"""By tensor number."""


def calibrate(graph: FloatGraph, x: np.ndarray) -> Statistics:
    """Look at every tensor, over pictures.

    Parameters
    ----------
    graph : FloatGraph
    x : ndarray, shape (n, *input shape)

    Raises
    ------
    ModelError
        If a value is not finite.
    """
    names = {0: "the input", **{node.output: f"node {node.name}" for node in graph.nodes}}
    low: dict[int, float] = {}
    high: dict[int, float] = {}
    sums: dict[int, np.ndarray] = {}
    largest: dict[int, np.ndarray] = {}

    def measure(tensor: int, values: np.ndarray) -> None:
        least, greatest = float(values.min()), float(values.max())
        if not -MOST < least <= greatest < MOST:
            raise ModelError(f"{names[tensor]}: a value is not finite, or above {MOST:g}")
        low[tensor] = min(low.get(tensor, least), least)
        high[tensor] = max(high.get(tensor, greatest), greatest)
        total = values.reshape(-1, values.shape[-1]).sum(axis=0, dtype=np.float64)
        sums[tensor] = sums.get(tensor, 0) + total / (values.size // values.shape[-1])
        weights[tensor] = weights.get(tensor, 0) + 1
        reach = np.abs(values).reshape(-1, values.shape[-1]).max(axis=0)
        largest[tensor] = np.maximum(largest.get(tensor, 0), reach)

    weights: dict[int, int] = {}
    graph.run(x, measure)
    counts = {tensor: np.zeros(_BINS, np.int64) for tensor in low}

    def count(tensor: int, values: np.ndarray) -> None:
        least, greatest = min(low[tensor], 0.0), max(high[tensor], 0.0)
        if not greatest > least:
            return
        # A part will do where there are many; an odd step meets every channel.
        flat = values.reshape(-1)[:: values.size // _COUNTED | 1]
        bins = ((flat - least) * ((_BINS - 1) / (greatest - least))).astype(np.intp)
        counts[tensor] += np.bincount(bins, minlength=_BINS)

    graph.run(x, count)
    return {
        tensor: Seen(
            Range(low[tensor], high[tensor]),
            sums[tensor] / weights[tensor],
            largest[tensor],
            counts[tensor],
        )
        for tensor in low
    }
