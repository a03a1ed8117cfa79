"""Sums that need more bits than the accumulator has, in two passes.

An accumulator of so many bits gives a sum modulo their power of two. That is enough where the sum
matters: what lies far outside is clamped anyway. So the exact pass is told, by a coarse one before
it, whether a sum lies surely below what the clamp lets through, within, or surely above.

The coarse pass has the weights rounded to multiples of a unit, so that its sums fit. It writes
-1, 0 or 1 where the result goes. The exact pass then adds: the epilogue's two tables take the
result of a sum in range as it is, and move any other to the clamp's end.

With ``A`` the exact sum, bias included, and ``C`` the coarse one, ``unit * C - A`` is the sum of
the roundings' errors, bounded over all inputs by the actual weights. The coarse pass must say 0 for
every ``A`` whose output is not at the clamp's end, and 1 for every ``A`` that the accumulator does
not hold: there is a threshold between if the bounds leave room, else the layer is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from gateware.interface.configuration import EngineConfiguration
from gateware.interface.tape import ADDITION_SHIFT, PARAMETER
from model.int8.fixed_point import multiply_by_quantized_multiplier, quantize_multiplier
from model.int8.reference import Requantization

from .addition import Addition
from .channels import fit_accumulators, sum_bounds
from .errors import AccumulatorError
from .layers import UNIT_MULTIPLIER, Epilogue, IntArray

__all__ = ["WideSums", "combined", "fit_wide"]

#: What coarse weights may be multiples of. Powers of two nearly always do; between those lie the
#: only ones that do for a dense layer of thousands of values.
_UNITS = (2, 4, 8, 16, 32, 64, 128, 3, 5, 6, 7, 10, 12, 14, 20, 24, 28)

#: Beyond every result: more than 256 outputs, less than half the tables' range.
_FAR = 1 << (ADDITION_SHIFT + 9)


@dataclass(frozen=True, eq=False)
class WideSums:
    """Weights and epilogues of the two passes.

    Attributes
    ----------
    coarse, exact : ndarray of int64, shape (output channels, taps)
    coarse_epilogue, exact_epilogue : Epilogue
        Without an addition: see :func:`combined`.
    """

    coarse: IntArray
    coarse_epilogue: Epilogue
    exact: IntArray
    exact_epilogue: Epilogue


def fit_wide(
    name: str,
    weights: IntArray,
    bias: IntArray,
    rule: Requantization,
    configuration: EngineConfiguration,
) -> WideSums:
    """The two passes of a layer of which some channels' sums do not fit; see :func:`.fit_channels`.

    Raises
    ------
    AccumulatorError
        If the sums that are not clamped do not fit either.
    """
    exact, epilogue, fits = fit_accumulators(name, weights, bias, rule, configuration)
    coarse = np.zeros_like(exact)
    channels = len(exact)
    biases = np.zeros(channels, np.int64)
    multipliers = np.full(channels, UNIT_MULTIPLIER, np.int64)
    shifts = np.zeros(channels, np.int64)
    for channel in np.flatnonzero(~fits):
        found = _coarse_channel(
            exact[channel],
            int(epilogue.bias[channel]),
            (int(epilogue.multiplier[channel]), -int(epilogue.shift[channel])),
            rule,
            configuration,
        )
        if found is None:
            low, high = (int(each[0]) for each in sum_bounds(exact[channel : channel + 1]))
            folded = int(epilogue.bias[channel])
            needed = max(abs(low + folded), abs(high + folded)).bit_length() + 1
            raise AccumulatorError(
                f"layer {name}, channel {channel}: its accumulator can need {needed} bits, the "
                f"engine's limit is {configuration.accumulator_bits - 1}, and too many of its "
                f"outputs are not clamped to do with less"
            )
        coarse[channel], biases[channel], multipliers[channel], shifts[channel] = found
    # Modulo the accumulator's range: that is what the exact pass computes.
    modulus = 1 << configuration.accumulator_bits
    if configuration.accumulator_bits <= PARAMETER["bias"].width:
        folded_biases = (epilogue.bias + modulus // 2) % modulus - modulus // 2
    else:
        folded_biases = epilogue.bias
    return WideSums(
        coarse,
        Epilogue(biases, multipliers, shifts, 0, -1, 1),
        exact,
        replace(epilogue, bias=folded_biases),
    )


def combined(exact: Epilogue) -> Epilogue:
    """The exact pass's epilogue with the addition of what the coarse one wrote.

    A table behind the sums must be at its own ends at those of the clamp.
    """
    every = np.arange(-128, 128)
    ends = np.array([exact.minimum, exact.maximum])
    low, high = ends if exact.table is None else exact.table[ends + 128]
    tables = np.stack([every << ADDITION_SHIFT, _FAR * np.sign(every)])
    return exact.adding(Addition(tables, int(low), int(high)))


def _coarse_channel(
    weights: IntArray,
    bias: int,
    scale: tuple[int, int],
    rule: Requantization,
    configuration: EngineConfiguration,
) -> tuple[IntArray, int, int, int] | None:
    """A channel's coarse weights, bias, multiplier and shift; None if there are none."""
    half = 1 << (configuration.accumulator_bits - 2)
    low, high = (int(each[0]) + bias for each in sum_bounds(weights[np.newaxis]))

    def output(total: int) -> int:
        scaled = int(multiply_by_quantized_multiplier(np.array([total]), *scale)[0])
        return min(max(scaled + rule.output_zero_point, rule.minimum), rule.maximum)

    # Sums of which the output is not at an end: from above `bottom` to below `top`.
    bottom = _last(low, high, lambda total: output(total) <= rule.minimum)
    top = _last(low, high, lambda total: output(total) < rule.maximum) + 1
    if (high >= half and top > half) or (low < -half and bottom < -half - 1):
        return None
    for unit in _UNITS:
        rounded = (2 * weights + unit) // (2 * unit)
        if rounded.size and rounded.max() > 127:
            continue
        errors = unit * rounded - weights
        least, greatest = (int(each[0]) - bias for each in sum_bounds(errors[np.newaxis]))
        # unit * C is between A + least and A + greatest, C being the sum without a bias.
        inside_high = (top - 1 + greatest) // unit
        above = -(-(half + least) // unit)
        inside_low = -(-(bottom + 1 + least) // unit)
        below = (-half - 1 + greatest) // unit
        if inside_high >= above or below >= inside_low:
            continue
        found = _three_levels((below, inside_low, inside_high, above), rounded, half)
        if found is not None:
            return (rounded, *found)
    return None


def _last(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The last number from ``low`` to ``high`` up to which ``holds``; ``low - 1`` if none does."""
    begin, end = low - 1, high + 1
    while end - begin > 1:
        middle = (begin + end) // 2
        if holds(middle):
            begin = middle
        else:
            end = middle
    return begin


def _three_levels(
    edges: tuple[int, int, int, int], weights: IntArray, half: int
) -> tuple[int, int, int] | None:
    """Bias, multiplier and shift that give -1 up to the first edge, 0 between the two in the
    middle, 1 from the last on."""
    below, inside_low, inside_high, above = edges
    lower, upper = (below + inside_low) / 2, (inside_high + above) / 2
    multiplier, shift = (int(n) for n in quantize_multiplier(1 / (upper - lower)))
    bias = -round((lower + upper) / 2)
    low, high = (int(each[0]) + bias for each in sum_bounds(weights[np.newaxis]))
    if low < -half or high >= half or not -31 <= shift <= 0:
        return None
    totals = np.array(edges) + bias
    levels = np.clip(multiply_by_quantized_multiplier(totals, multiplier, shift), -1, 1)
    return (bias, multiplier, -shift) if levels.tolist() == [-1, 0, 0, 1] else None
