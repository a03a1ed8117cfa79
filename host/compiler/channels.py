"""Fit the arithmetic of each output channel to the engine's accumulator and requantiser.

For a lane, the engine computes ``clamp(scale(sum(x * w) + bias) + zero_point)``, where ``x`` is the
stored byte, so the input's zero point moves into the bias. The actual weights bound the sum over
all possible inputs. What could overflow is refused, except where it does not matter: a *dead*
channel, whose output is the same over its whole range, needs no sum.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gateware.interface.configuration import EngineConfiguration
from gateware.interface.tape import PARAMETER
from model.int8.fixed_point import (
    INT32_MAX,
    INT32_MIN,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
)
from model.int8.reference import Requantization

from .errors import AccumulatorError, CompileError
from .layers import UNIT_MULTIPLIER, Epilogue, IntArray

FloatArray = npt.NDArray[np.floating]

_INT8_MIN, _INT8_MAX = -128, 127
_WEIGHTS = (1, 2, 4, 8, 16, 32, 64, *range(127, 2, -1))


def signed_bits(value: int) -> int:
    """Bits of the narrowest two's complement number that holds ``value``."""
    return (value if value >= 0 else ~value).bit_length() + 1


def sum_bounds(weights: IntArray) -> tuple[IntArray, IntArray]:
    """Least and greatest sum of each row of ``weights`` over all int8 inputs."""
    at_least, at_most = weights * _INT8_MIN, weights * _INT8_MAX
    return (
        np.minimum(at_least, at_most).sum(axis=1),
        np.maximum(at_least, at_most).sum(axis=1),
    )


def average(count: int) -> tuple[int, int, int]:
    """Find the weight, multiplier and shift with which the requantiser divides a sum by ``count``.

    The first rounding gives the quotient with at least ``log2(count) + 1`` fraction bits. So a tie,
    whose quotient has one, is met exactly, and nothing else is moved across one; the second
    rounding then does what AVERAGE_POOL_2D asks for: half away from zero.

    Raises
    ------
    ValueError
        If the result would be wrong for any sum of ``count`` bytes.
    """
    weight = 4
    # weight * multiplier / 2^31 is 2^shift / count, and multiplier is 2^30 or more.
    shift = (weight * count - 1).bit_length() - 1
    multiplier = ((1 << (31 + shift)) // count + weight // 2) // weight
    sums = np.arange(_INT8_MIN * count, _INT8_MAX * count + 1)
    quotients = rounding_divide_by_pot(
        saturating_rounding_doubling_high_mul(weight * sums, multiplier), shift
    )
    exact = (np.abs(sums) + count // 2) // count * np.sign(sums)
    if not np.array_equal(quotients, exact):
        raise ValueError(f"No multiplier divides every sum of {count!r} bytes")
    return weight, multiplier, shift


def fit_sums(
    wanted: npt.NDArray[np.int8],
    count: int,
    zero_point: int,
    bits: int,
    weights: Sequence[int] = _WEIGHTS,
) -> tuple[int, int, int, int] | None:
    """Weight, bias, multiplier and shift that give what is ``wanted`` for each sum of bytes.

    Parameters
    ----------
    wanted : ndarray of int8, shape (255 * count + 1,)
        A non-decreasing function of the sum, from ``-128 * count`` on. Where it is at its least or
        greatest, the clamp does the rest.
    count : int
        Bytes that are summed.
    zero_point : int
        Of the output.
    bits : int
        That the sum, weight and bias included, may take.
    weights : sequence of int
        To try, in this order.

    Returns
    -------
    tuple of int, or None
        None if nothing tried gives the same for every sum.
    """
    values = wanted.astype(np.int64)
    low, high = int(values[0]), int(values[-1])
    if low == high:
        return 0, 2 * (low - zero_point), UNIT_MULTIPLIER, 0
    starts = np.flatnonzero(np.diff(values)) + 1
    step, least, greatest = _line(values[starts] - zero_point - 0.5, starts + _INT8_MIN * count)
    # Both functions grow: where they agree on either side of each start, they agree everywhere.
    where = np.concatenate([[0], starts - 1, starts, [len(values) - 1]])
    # The bias counts in parts of the weight: one that nothing else gives may need an odd one.
    for weight in weights:
        multiplier, shift = (int(n) for n in quantize_multiplier(1 / (step * weight)))
        middle = -round((least + greatest) / 2 * weight)
        reach = min(8, int(abs(greatest - least) * weight / 2) + 2)
        for bias in sorted(
            range(middle - reach, middle + reach + 1), key=lambda b: abs(b - middle)
        ):
            total = weight * (where + _INT8_MIN * count) + bias
            ends = (int(total[0]), int(total[-1]), weight * _INT8_MIN * count)
            if not -31 <= shift <= 0 or max(map(signed_bits, ends)) > bits:
                continue
            result = multiply_by_quantized_multiplier(total, multiplier, shift) + zero_point
            if np.array_equal(np.clip(result, low, high), values[where]):
                return weight, bias, multiplier, -shift
    return None


def _line(levels: FloatArray, starts: IntArray) -> tuple[float, float, float]:
    """Step and range of offset with which ``levels * step + offset`` is just below ``starts``.

    How much room a step leaves for the offset is a concave function of it: ternary search.
    """

    def room(step: float) -> tuple[float, float]:
        begins = starts - levels * step
        return float((begins - 1).max()), float(begins.min())

    slope = (starts[-1] - starts[0]) / (levels[-1] - levels[0]) if len(starts) > 1 else 1.0
    shortest, longest = slope * 0.9, slope * 1.1
    for _ in range(100):
        third = (longest - shortest) / 3
        (a, b), (c, d) = room(shortest + third), room(longest - third)
        if b - a < d - c:
            shortest += third
        else:
            longest -= third
    return (shortest, *room(shortest))


def fit_channels(
    name: str,
    weights: IntArray,
    bias: IntArray,
    rule: Requantization,
    configuration: EngineConfiguration,
) -> tuple[IntArray, Epilogue]:
    """Weights and epilogue with which the engine computes exactly what the reference does.

    Parameters
    ----------
    name : str
        Of the layer, for the error's text.
    weights : ndarray of int64, shape (output channels, taps)
    bias : ndarray of int64, shape (output channels,)
    rule : Requantization
        From :func:`model.int8.reference.requantization`.
    configuration : EngineConfiguration

    Returns
    -------
    weights : ndarray of int64, of the same shape
        Zero for dead channels.
    epilogue : Epilogue
        Without a table.

    Raises
    ------
    CompileError
        If a channel needs a wider accumulator or bias, or a left shift, than the engine has.
    """
    weights, epilogue, fits = fit_accumulators(name, weights, bias, rule, configuration)
    for channel in np.flatnonzero(~fits):
        low, high = (int(bound[0]) for bound in sum_bounds(weights[channel : channel + 1]))
        folded = int(epilogue.bias[channel])
        needed = max(signed_bits(low + folded), signed_bits(high + folded))
        raise AccumulatorError(
            f"layer {name}, channel {channel}: its accumulator can need {needed} bits, the "
            f"engine's limit is {configuration.accumulator_bits - 1}"
        )
    return weights, epilogue


def fit_accumulators(
    name: str,
    weights: IntArray,
    bias: IntArray,
    rule: Requantization,
    configuration: EngineConfiguration,
) -> tuple[IntArray, Epilogue, npt.NDArray[np.bool_]]:
    """As :func:`fit_channels`, whether the accumulators hold every sum or not.

    Returns
    -------
    weights : ndarray of int64
    epilogue : Epilogue
    fits : ndarray of bool, shape (output channels,)
        Whether every sum of the channel, bias included, fits. Then it does not matter if the sum
        without the bias does: it wraps, and the bias unwraps it.
    """
    weights = weights.copy()
    folded = bias - rule.input_zero_point * weights.sum(axis=1)
    multiplier, left = rule.multiplier.copy(), np.maximum(rule.shift, 0)

    low, high = (bound + folded for bound in sum_bounds(weights))
    exact = (low << left >= INT32_MIN) & (high << left <= INT32_MAX)
    least, greatest = rule.apply(np.clip(np.stack([low, high]), INT32_MIN, INT32_MAX))
    dead = exact & (least == greatest)
    weights[dead] = 0
    # scale(2 * d) is d with a multiplier of 2^30 and no shift.
    folded[dead] = 2 * (least[dead].astype(np.int64) - rule.output_zero_point)
    multiplier[dead] = UNIT_MULTIPLIER
    left[dead] = 0
    right = np.where(dead, 0, np.maximum(-rule.shift, 0))

    limit = 1 << (configuration.accumulator_bits - 2)
    far = exact & (np.maximum(abs(low), abs(high)) >= limit) & (greatest - least == 1)
    for channel in np.flatnonzero(far):
        found = _single_step(
            rule, int(channel), (int(low[channel]), int(high[channel])), int(folded[channel])
        )
        if found is not None:
            folded[channel], multiplier[channel], right[channel] = found
            left[channel] = 0

    _fold_left_shift(name, weights, folded, left)
    low, high = (bound + folded for bound in sum_bounds(weights))
    fits = (low >= -limit) & (high < limit)
    if configuration.accumulator_bits <= PARAMETER["bias"].width:
        modulus = 1 << configuration.accumulator_bits
        wrapped = (folded + modulus // 2) % modulus - modulus // 2
        folded = np.where(fits, wrapped, folded)
    else:
        bits = PARAMETER["bias"].width
        for channel in np.flatnonzero(np.abs(folded) >= 1 << (bits - 1)):
            raise CompileError(
                f"layer {name}, channel {channel}: its bias, zero point included, needs "
                f"{signed_bits(int(folded[channel]))} bits, the engine's limit is {bits}"
            )
    return (
        weights,
        Epilogue(
            bias=folded,
            multiplier=multiplier,
            shift=right,
            zero_point=rule.output_zero_point,
            minimum=rule.minimum,
            maximum=rule.maximum,
        ),
        fits,
    )


def _single_step(
    rule: Requantization, channel: int, bounds: tuple[int, int], bias: int
) -> tuple[int, int, int] | None:
    """A small bias, with its multiplier and shift, for a channel that has only two outputs.

    Only the accumulator at which one output becomes the other matters for such a channel.
    """

    def output(accumulators: IntArray) -> IntArray:
        shift = rule.shift[channel]
        scaled = multiply_by_quantized_multiplier(accumulators, rule.multiplier[channel], shift)
        return np.clip(scaled + rule.output_zero_point, rule.minimum, rule.maximum)

    low, high = bounds
    first = int(output(np.array([low]))[0])
    begin, end = low, high
    while end - begin > 1:
        middle = (begin + end) // 2
        if output(np.array([middle]))[0] == first:
            begin = middle
        else:
            end = middle
    where = np.array([low, begin, end, high])
    wanted = output(where)
    # As short a step as has either output's range, so that its place is as small as can be.
    level = first - rule.output_zero_point + 0.5
    for slack in (1, 2, 4, 16):
        step = max(end - low, high - begin) + slack
        multiplier, shift = (int(n) for n in quantize_multiplier(1 / step))
        middle = round(level * step) - end
        for offset in range(middle - 8, middle + 9):
            result = multiply_by_quantized_multiplier(where + offset, multiplier, shift)
            result = np.clip(result + rule.output_zero_point, rule.minimum, rule.maximum)
            if shift >= -31 and np.array_equal(result, wanted):
                return bias + offset, multiplier, -shift
    return None


def _fold_left_shift(name: str, weights: IntArray, bias: IntArray, left: IntArray) -> None:
    """Move left shifts, which the requantiser does not have, into weights with room for them."""
    for channel in np.flatnonzero(left):
        shift = int(left[channel])
        shifted = weights[channel] << shift
        if shifted.size and not _INT8_MIN <= shifted.min() <= shifted.max() <= _INT8_MAX:
            raise CompileError(
                f"layer {name}, channel {channel}: its scale is {1 << (shift - 1)} or more, the "
                f"engine's limit is below 1 (input scale * weight scale / output scale)"
            )
        weights[channel] = shifted
        bias[channel] <<= shift
