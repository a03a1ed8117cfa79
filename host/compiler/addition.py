"""ADD as the engine computes it: two tables, a sum, a shift, proved exact.

TensorFlow Lite scales each input by a multiplier of its own, adds, and scales the sum. The engine
reads each byte's share from a table instead: ``clamp((first[a] + second[b]) >> ADDITION_SHIFT)``.
For an output ``v`` the sum must lie in ``v << ADDITION_SHIFT`` and the ``2**ADDITION_SHIFT - 1``
numbers above it; at the clamp's ends it may go as far as the entries' width lets it.

So each of the 65,536 pairs of bytes bounds ``first[a] - (-second[b])`` on both sides: a system of
difference constraints, solved by the shortest paths of Bellman and Ford (Cormen et al.,
"Introduction to Algorithms", 24.4). It ends with integer tables that are exact for every pair, or
with the proof that there are none.

Why ADDITION_SHIFT is 8: more fraction bits would only cost range. All that counts of an entry's
fraction is where it lies among the other table's 256, so that 256 steps are enough wherever any
fractions are. Measured with 24-bit entries, on 2000 random quantisations (half of them with equal
input scales, else a ratio of 1/8 to 8; output scale 0.5 to 2.8 times the larger) and 1000 far ones
(1/256 to 256; 1/128 to 32 times), share that is exact:

=====  =====  =====  =====  =====  =====  =====  =====  =====
shift  7      8      9      10     11     12     13     14
=====  =====  =====  =====  =====  =====  =====  =====  =====
usual  79.5%  100%   100%   100%   100%   100%   100%   97.5%
far    85.8%  100%   99.8%  98.9%  97.0%  93.3%  89.0%  82.3%
=====  =====  =====  =====  =====  =====  =====  =====  =====

Scales in small whole ratios, such as 5 : 5 : 12, stay inexact at any shift: many sums lie half-way
between two outputs, and the reference's rounding errors move some up and some down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gateware.interface.tape import ADDITION_SHIFT, TABLE_BITS

from .errors import CompileError

__all__ = ["Addition", "find_addition"]

IntArray = npt.NDArray[np.int64]

#: More than sums of sensible scales need; 512 such numbers still add up within int64.
_AMPLE_BITS = 48


@dataclass(frozen=True, eq=False)
class Addition:
    """``clamp((tables[0][a] + tables[1][b]) >> ADDITION_SHIFT)`` for bytes a and b.

    Attributes
    ----------
    tables : ndarray of int64, shape (2, 256)
        Tables of the first and the second input, indexed by value plus
        128. Entries, and every sum of two,
        are signed numbers of `TABLE_BITS`.
    low, high : int
        The clamp, in -128 .. 127.
    """

    tables: IntArray
    low: int
    high: int

    def apply(self, a: npt.ArrayLike, b: npt.ArrayLike) -> npt.NDArray[np.int8]:
        """The engine's result for int8 values whose shapes broadcast."""
        first, second = (
            table[np.asarray(values, np.intp) + 128] for table, values in zip(self.tables, (a, b))
        )
        result = np.clip((first + second) >> ADDITION_SHIFT, self.low, self.high)
        output: npt.NDArray[np.int8] = result.astype(np.int8)
        return output


def find_addition(name: str, wanted: npt.NDArray[np.int8]) -> Addition:
    """The engine's tables for an addition, equal to ``wanted`` for every pair of bytes.

    Parameters
    ----------
    name : str
        Of the layer.
    wanted : ndarray of int8, shape (256, 256)
        The reference's answer for the bytes ``a - 128`` and ``b - 128``.

    Raises
    ------
    CompileError
        If there are none.
    """
    tables = _tables(wanted, TABLE_BITS)
    if tables is None:
        if _tables(wanted, _AMPLE_BITS) is None:
            raise CompileError(
                f"layer {name}: the reference rounds some halves up and some down, as no sum of "
                f"two tables does; slightly different scales would help"
            )
        raise CompileError(
            f"layer {name}: its sums need more than {TABLE_BITS} bits, the engine's limit; "
            f"an output scale nearer to the inputs' would help"
        )
    return Addition(tables, int(wanted.min()), int(wanted.max()))


def _tables(wanted: npt.NDArray[np.int8], bits: int) -> IntArray | None:
    """Tables with entries and sums of so many bits, for a clamp to what is wanted at all."""
    lowest, highest = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    begins = wanted.astype(np.int64) << ADDITION_SHIFT
    ends = begins + (1 << ADDITION_SHIFT) - 1
    potentials = _within(
        np.where(wanted > wanted.min(), begins, lowest),
        np.where(wanted < wanted.max(), ends, highest),
    )
    if potentials is None:
        return None
    # A constant moves from one table to the other, so that all entries fit. There always is one,
    # because the sums fit: neither table spans more than they do.
    first, second = potentials
    least = max(lowest - first.min(), second.max() - highest)
    greatest = min(highest - first.max(), second.min() - lowest)
    offset = (least + greatest) // 2
    return np.stack([first + offset, second - offset])


def _within(least: IntArray, greatest: IntArray) -> tuple[IntArray, IntArray] | None:
    """``first`` and ``second`` with ``least[a, b] <= first[a] + second[b] <= greatest[a, b]``.

    Return None if there are
    none. ``first`` and ``-second`` are the potentials of 512 nodes, lowered
    until they satisfy every bound. After k rounds they account for all paths of 2k - 1 edges, and
    no shortest path has more than 511: what still moves after 256 rounds runs round a negative
    cycle.
    """
    sides = least.shape
    first, minus_second = np.zeros(sides[0], np.int64), np.zeros(sides[1], np.int64)
    least = np.ascontiguousarray(least.T)
    for _ in range(sum(sides) // 2 + 1):
        before = first, minus_second
        first = np.minimum(first, (greatest + minus_second).min(axis=1))
        minus_second = np.minimum(minus_second, (first - least).min(axis=1))
        if np.array_equal(first, before[0]) and np.array_equal(minus_second, before[1]):
            return first, -minus_second
    return None
