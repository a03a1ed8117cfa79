"""What sources have in common that put channels last, as we do: Keras and TensorFlow Lite.

A sequence (steps, channels) of theirs is a picture (1, steps, channels) of ours. Shapes and axes
are without the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np

from model.importing.float_operators import Shape, TransposedConvolution, Window
from model.importing.float_operators.definition import require
from model.int8.geometry import extent
from model.int8.graph import Padding

__all__ = ["our_axis", "our_order", "ours", "padded_window", "transposed", "widened"]

T = TypeVar("T")


def widened(by_axis: Iterable[T], first: T) -> tuple[T, ...]:
    """What a source says of each axis, for our axes: of a sequence with `first` for the height."""
    values = tuple(by_axis)
    return (first, *values) if len(values) == 2 else values


def ours(shape: Sequence[int]) -> Shape:
    """Our shape for a source's; a single number is a vector of one."""
    return widened(shape, 1) or (1,)


def our_axis(axis: int, rank: int) -> int:
    """Our axis for the source's axis, 0 to `rank` - 1."""
    return axis + (rank == 2)


def our_order(order: Sequence[int]) -> tuple[int, ...]:
    """A transposition of the source's axes, as one of ours."""
    return widened([our_axis(axis, len(order)) for axis in order], 0)


def padded_window(
    shape: Shape,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: Padding,
) -> Window:
    """A window on a picture of `shape`, its padding spelt out."""
    rows, columns = (extent(*each, padding) for each in zip(shape[:2], kernel, stride, dilation))
    pads = (rows.before, columns.before, rows.after, columns.after)
    return Window(kernel, stride, dilation, pads)


def transposed(
    weights: np.ndarray,
    bias: np.ndarray,
    stride: tuple[int, int],
    shape: Shape,
    wanted: Sequence[int],
    padding: Padding,
) -> TransposedConvolution:
    """A transposed convolution with the rows and columns that are `wanted`.

    Parameters
    ----------
    weights : ndarray, shape (rows, columns, input channels, output channels)
    bias : ndarray
    stride : tuple of int
    shape : tuple of int
        Of the picture that it gets.
    wanted : sequence of int
    padding : Padding
        What a convolution from that size back to `shape` would add before the first row and column
        is cut off there; at the end, what is left.
    """
    require(min(stride) >= 1, "a stride below 1")
    before, after = [], []
    for axis in (0, 1):
        full = (shape[axis] - 1) * stride[axis] + weights.shape[axis]
        reach = extent(wanted[axis], weights.shape[axis], stride[axis], 1, padding)
        before.append(reach.before)
        after.append(full - wanted[axis] - reach.before)
    crop = (before[0], before[1], after[0], after[1])
    return TransposedConvolution(weights, bias, stride, crop)
