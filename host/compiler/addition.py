"""ADD as the engine computes it: two integer factors, a sum, one requantisation, proved exact.

TensorFlow Lite scales each input by a multiplier of its own, to about 28 bits, adds, and scales the
sum. What reaches the output is a function of two bytes, so that a simpler arithmetic may take its
place if it gives the same for all 65,536 pairs. The engine's is
``requantise(factor_a * a + factor_b * b + bias)`` with factors of two 7-bit digits, each digit in a
lane. Only the factors' ratio matters, the rest is in the multiplier. Pairs of factors are tried,
the largest first; for each, a line through the places where the outputs begin gives multiplier and
bias; what is found is accepted only if it is exact for every pair of bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gateware.interface.tape import COMBINE_SHIFT
from model import fixed_point

from .errors import CompileError

__all__ = ["Addition", "find_addition"]

IntArray = npt.NDArray[np.int64]

#: The greatest factor of which both digits are weights of the engine.
_MAX_FACTOR = 127 << COMBINE_SHIFT
#: Factors below this leave an error that no multiplier makes good.
_MIN_FACTOR = 1 << 9


@dataclass(frozen=True)
class Addition:
    """``clamp(scale(factors[0] * a + factors[1] * b + bias) + zero_point)`` for bytes a and b.

    ``scale`` is TensorFlow Lite's multiplication by a quantised multiplier, ``shift`` a right
    shift.
    """

    factors: tuple[int, int]
    bias: int
    multiplier: int
    shift: int

    @property
    def digits(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Each factor's low and high digit: ``factor = low + high * 2**COMBINE_SHIFT``."""
        first, second = (self._split(factor) for factor in self.factors)
        return first, second

    @staticmethod
    def _split(factor: int) -> tuple[int, int]:
        base = 1 << COMBINE_SHIFT
        low = (factor + base // 2) % base - base // 2
        return low, (factor - low) // base

    def apply(self, a: IntArray, b: IntArray, zero_point: int, low: int, high: int) -> IntArray:
        """What the engine computes, for int8 values of any one shape."""
        total = self.factors[0] * a + self.factors[1] * b + self.bias
        result = fixed_point.multiply_by_quantized_multiplier(total, self.multiplier, -self.shift)
        return np.clip(result + zero_point, low, high)


def find_addition(
    name: str,
    wanted: npt.NDArray[np.int8],
    scales: tuple[float, float, float],
    zeros: tuple[int, int, int],
) -> Addition:
    """The engine's parameters for an addition, equal to ``wanted`` for every pair of bytes.

    Parameters
    ----------
    name : str
        Of the layer.
    wanted : ndarray of int8, shape (256, 256)
        The reference's answer for the bytes ``a - 128`` and ``b - 128``.
    scales : tuple of float
        Of both inputs and of the output.
    zeros : tuple of int
        Zero points of both inputs and of the output.

    Raises
    ------
    CompileError
        If there are none.
    """
    every = np.arange(-128, 128)
    a, b = every[:, np.newaxis], every[np.newaxis, :]
    low, high = int(wanted.min()), int(wanted.max())
    levels = _Levels(wanted, zeros[2])
    for factors in _pairs(scales[0] / scales[1]):
        # The factors' own rounding is made good on the sum of both.
        step = scales[2] * sum(factors) / (scales[0] + scales[1])
        line = levels.line(factors, step)
        if line is None:
            continue
        multiplier, shift = fixed_point.quantize_multiplier(1 / line[0])
        if not -31 <= shift <= 0:
            continue
        for bias in line[1]:
            addition = Addition(factors, bias, int(multiplier), -int(shift))
            if np.array_equal(addition.apply(a, b, zeros[2], low, high), wanted):
                return addition
    raise CompileError(
        f"layer {name}: no addition of the engine equals it for every pair of bytes; "
        f"scales nearer to each other would help"
    )


class _Levels:
    """The pairs of bytes, sorted by the output that is wanted for them.

    Output ``v`` must begin at a total in (``below[v]``, ``above[v]``], the greatest total of a
    lesser output and the least total of ``v`` or more. By the requantisation it begins at
    ``(v - zero_point - 1/2) * step - bias``.
    """

    def __init__(self, wanted: npt.NDArray[np.int8], zero_point: int) -> None:
        order = np.argsort(wanted, axis=None, kind="stable")
        outputs = wanted.reshape(-1)[order].astype(np.int64)
        self._a, self._b = order // 256 - 128, order % 256 - 128
        self._starts = np.concatenate([[0], np.flatnonzero(np.diff(outputs)) + 1])
        self._half_steps = outputs[self._starts[1:]] - zero_point - 0.5

    def line(self, factors: tuple[int, int], step: float) -> tuple[float, list[int]] | None:
        """The total's step from one output to the next, near ``step``, and biases to try.

        None where no line separates the outputs. How much room a step leaves for the bias is a
        concave function of it, so that the best one is found by ternary search.
        """
        if len(self._starts) == 1:
            return step, [0]
        totals = factors[0] * self._a + factors[1] * self._b
        greatest = np.maximum.reduceat(totals, self._starts)
        least = np.minimum.reduceat(totals, self._starts)
        below = np.maximum.accumulate(greatest)[:-1]
        above = np.minimum.accumulate(least[::-1])[::-1][1:]
        if not (below < above).all():
            return None

        def room(step: float) -> tuple[float, float]:
            begins = self._half_steps * step
            return float((begins - above).max()), float((begins - below).min())

        shortest, longest = step * (1 - 2**-12), step * (1 + 2**-12)
        for _ in range(60):
            third = (longest - shortest) / 3
            (a, b), (c, d) = room(shortest + third), room(longest - third)
            if b - a < d - c:
                shortest += third
            else:
                longest -= third
        low, high = room(shortest)
        if high < low:
            return None
        middle = round((low + high) / 2)
        reach = min(int(high - low) // 2 + 1, 8)
        biases = range(middle - reach, middle + reach + 1)
        return shortest, sorted(biases, key=lambda bias: abs(bias - middle))


def _pairs(ratio: float) -> Iterator[tuple[int, int]]:
    """Pairs of integers with a quotient near ``ratio``, the largest first."""
    for factor in range(_MAX_FACTOR, _MIN_FACTOR, -1):
        if ratio >= 1:
            yield factor, round(factor / ratio)
        else:
            yield round(factor * ratio), factor
