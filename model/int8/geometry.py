"""How many windows fit, and how much padding they need: the rule of TensorFlow, in one place."""

from __future__ import annotations

from typing import NamedTuple

from model.int8.graph import Padding

__all__ = ["Extent", "extent"]


class Extent(NamedTuple):
    """A sliding window along one dimension: positions, and padding on either side."""

    positions: int
    before: int
    after: int


def extent(size: int, kernel: int, stride: int, dilation: int, padding: Padding) -> Extent:
    """Positions of a window of `kernel` taps along `size` pixels.

    SAME gives ceil(size / stride) positions; VALID gives those that lie inside. Where the padding
    is odd, the extra pixel goes after. ``ComputeOutSize`` and ``ComputePaddingWithOffset`` of
    TensorFlow Lite, ``kernels/padding.h``.

    Returns
    -------
    Extent
        With fewer than 1 position where no window fits.
    """
    reach = (kernel - 1) * dilation + 1
    if padding is Padding.SAME:
        count = -(-size // stride)
    else:
        count = (size - reach) // stride + 1
    total = max(0, (count - 1) * stride + reach - size)
    return Extent(count, total // 2, total - total // 2)
