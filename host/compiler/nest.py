"""Loop nests: the deltas that produce a wanted sequence of addresses.

The engine's address generators keep one address and add a delta whenever a loop advances
(:mod:`gateware.interface.tape`). A delta is relative to where the loops inside ended. Here a nest
is given by the *stride* of each level, and by how often the level runs.
"""

from __future__ import annotations

from collections.abc import Sequence


def deltas(strides: Sequence[int], counts: Sequence[int]) -> list[int]:
    """The number to add when each level of a loop nest advances and the levels inside it restart.

    Parameters
    ----------
    strides : sequence of int
        Distance between two iterations of each level, outermost level first.
    counts : sequence of int
        Iterations of each level.

    Returns
    -------
    list of int
        One delta for each level, in the same order.
    """
    if len(strides) != len(counts):
        raise ValueError(f"{len(strides)} strides do not match {len(counts)} counts")
    result: list[int] = []
    inside = 0
    for stride, count in zip(reversed(strides), reversed(counts)):
        result.append(stride - inside)
        inside += (count - 1) * stride
    return result[::-1]


def ceil_divide(numerator: int, denominator: int) -> int:
    """Quotient of two positive integers, rounded up."""
    return -(-numerator // denominator)


def round_up(value: int, multiple: int) -> int:
    """Smallest multiple of ``multiple`` that is not below ``value``."""
    return ceil_divide(value, multiple) * multiple
