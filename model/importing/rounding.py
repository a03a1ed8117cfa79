"""A layer's weights and bias in integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.training.quantization import int32_bias, symmetric

__all__ = ["ACCUMULATOR_BITS", "Affine8", "Weights", "rounded"]

ACCUMULATOR_BITS = 24
"""Of the narrowest engine: sums of products fit into these, with the bias into one bit less."""

Affine8 = tuple[float, int]
"""Scale and zero point."""


@dataclass(frozen=True, eq=False)
class Weights:
    """A layer's weights and bias in integers; ``coarser`` lists channels that had to give way."""

    stored: np.ndarray
    scale: np.ndarray
    bias: np.ndarray
    coarser: tuple[int, ...]


def rounded(
    weights: np.ndarray,
    bias: np.ndarray,
    source: Affine8,
    by_channel: bool,
    scale: np.ndarray | None = None,
    mean: np.ndarray | None = None,
    bits: int = ACCUMULATOR_BITS,
) -> Weights:
    """Weights (..., output channels) to int8, and the bias to int32.

    Where a channel's sums would not fit into the accumulator, its weights are made coarser.

    Parameters
    ----------
    weights, bias : ndarray of float64
    source : tuple of float and int
        Scale and zero point of the layer's input.
    by_channel : bool
        A scale for each output channel, or one.
    scale : ndarray, optional
        A scale that is given.
    mean : ndarray, optional
        Of the inputs, shape (..., output channels): what rounding the weights changes in the mean
        is taken out of the bias.
    bits : int
        Of the accumulator.
    """
    flat = weights.reshape(-1, weights.shape[-1])
    channels = flat.shape[1]
    if scale is None:
        _, scale = symmetric(flat.astype(np.float32), (0,) if by_channel else None)
    scale = np.broadcast_to(scale.astype(np.float64), (channels,)).copy()
    scale_in, zero_point = source
    coarser: set[int] = set()
    limit = 1 << (bits - 1)
    while True:
        scale = scale.astype(np.float32).astype(np.float64)
        stored = np.clip(np.rint(flat / scale), -127, 127).astype(np.int64)
        exact = bias
        if mean is not None:
            exact = bias - ((stored * scale - flat) * mean.reshape(flat.shape)).sum(axis=0)
        low = np.minimum(-128 * stored, 127 * stored).sum(axis=0)
        high = np.maximum(-128 * stored, 127 * stored).sum(axis=0)
        whole = np.rint(exact / (scale_in * scale)) - zero_point * stored.sum(axis=0)
        over = np.maximum(
            np.maximum(-low, high) / limit,
            2 * np.maximum(np.maximum(-(low + whole), high + whole), np.abs(whole)) / limit,
        )
        wide = over >= 1
        if not wide.any():
            break
        if not by_channel:
            wide[:] = True
            over[:] = over.max()
        coarser.update(np.flatnonzero(wide & (stored != 0).any(axis=0)).tolist())
        scale = np.where(wide, scale * over * 1.002, scale)
    one = scale if by_channel else scale[:1]
    return Weights(
        stored.reshape(weights.shape).astype(np.int8),
        one.astype(np.float32),
        int32_bias(exact, scale_in, scale.astype(np.float32)),
        tuple(sorted(coarser)),
    )
