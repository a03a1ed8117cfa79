"""The integer arithmetic of TensorFlow Lite for Microcontrollers, exactly, on whole arrays.

Every function takes and returns NumPy ``int64`` arrays that hold ``int32`` values, so that a
product of two of them is exact. "Q*m*.*n*" is a signed 32-bit number with *m* integer and *n*
fraction bits, m + n = 31; "Q*m*" is short for it.

Sources: gemmlowp ``fixedpoint/fixedpoint.h`` (all fixed-point functions), TensorFlow Lite
``kernels/internal/common.h`` and ``quantization_util.cc`` (multipliers).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

__all__ = [
    "INT32_MAX",
    "INT32_MIN",
    "exp_on_negative_values",
    "input_radius",
    "log_softmax",
    "logistic",
    "multiply_by_quantized_multiplier",
    "one_minus_x_over_one_plus_x",
    "one_over_one_plus_x",
    "quantize_multiplier",
    "rounding_divide_by_pot",
    "saturating_rounding_doubling_high_mul",
    "saturating_rounding_multiply_by_pot",
    "softmax",
    "tanh",
    "wrap_int32",
]

INT32_MIN = -(1 << 31)
INT32_MAX = (1 << 31) - 1

_Q0_ONE = INT32_MAX
"""1.0 in Q0.31: the nearest that there is."""

_SOFTMAX_INPUT_BITS = 5
_SOFTMAX_SUM_BITS = 12
_SOFTMAX_SUM_MAX_TERMS = (1 << _SOFTMAX_SUM_BITS) - 1


def quantize_multiplier(scale: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Write positive real factors as ``multiplier * 2**(shift - 31)``.

    ``QuantizeMultiplier`` of TensorFlow Lite: ``frexp``, then rounding to 31 bits, half away from
    zero.

    Parameters
    ----------
    scale : array_like of float64
        Not negative, finite.

    Returns
    -------
    multiplier : ndarray of int64
        In 2**30 .. 2**31 - 1, or 0 where the factor is 0 or below 2**-32.
    shift : ndarray of int64
        Power of two: positive shifts left.

    Raises
    ------
    ValueError
        If a factor is negative or not finite.
    """
    scale = np.asarray(scale, np.float64)
    if not np.all(np.isfinite(scale) & (scale >= 0)):
        raise ValueError(f"a factor must be finite and not negative, not {scale!r}")
    fraction, exponent = np.frexp(scale)
    multiplier = np.floor(fraction * 2.0**31 + 0.5).astype(np.int64)
    shift = exponent.astype(np.int64)
    carried = multiplier == 1 << 31
    multiplier = np.where(carried, 1 << 30, multiplier)
    shift = np.where(carried, shift + 1, shift)
    vanishes = shift < -31
    return np.where(vanishes, 0, multiplier), np.where(vanishes, 0, shift)


def wrap_int32(x: ArrayLike) -> np.ndarray:
    """Keep the low 32 bits of `x`, read as a signed number: what a 32-bit register would hold."""
    return np.asarray(x, np.int64).astype(np.int32).astype(np.int64)


def _saturate(x: np.ndarray) -> np.ndarray:
    return np.clip(x, INT32_MIN, INT32_MAX)


def saturating_rounding_doubling_high_mul(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """High 32 bits of ``2 * a * b``, rounded; the product of two Q0.31 numbers.

    gemmlowp's ``SaturatingRoundingDoublingHighMul`` nudges by 2**30 or 1 - 2**30 by the sign of the
    product and divides towards zero. That is the same as ``floor((a * b + 2**30) / 2**31)`` for
    either sign: half rounds up. Only -2**31 times itself does not fit; it saturates.
    """
    product = np.asarray(a, np.int64) * np.asarray(b, np.int64)
    return np.minimum((product + (1 << 30)) >> 31, INT32_MAX)


def rounding_divide_by_pot(x: ArrayLike, exponent: ArrayLike) -> np.ndarray:
    """Divide by ``2**exponent``, to the nearest, half away from zero.

    gemmlowp's ``RoundingDivideByPOT``; `exponent` is in 0 .. 31.
    """
    x = np.asarray(x, np.int64)
    exponent = np.asarray(exponent, np.int64)
    half = (np.int64(1) << exponent) >> 1
    return (x + half - ((x < 0) & (exponent > 0))) >> exponent


def saturating_rounding_multiply_by_pot(x: ArrayLike, exponent: int) -> np.ndarray:
    """Multiply by ``2**exponent``: upwards saturating, downwards as `rounding_divide_by_pot`."""
    if exponent < 0:
        return rounding_divide_by_pot(x, -exponent)
    return _saturate(np.asarray(x, np.int64) << exponent)


def multiply_by_quantized_multiplier(
    x: ArrayLike, multiplier: ArrayLike, shift: ArrayLike
) -> np.ndarray:
    """Scale `x` by ``multiplier * 2**(shift - 31)``, rounding twice.

    ``MultiplyByQuantizedMultiplier`` of TensorFlow Lite without ``TFLITE_SINGLE_ROUNDING``: shift
    left, multiply to the high half, then shift right. A left shift that overflows wraps, as the
    reference kernels do on every machine that they are built for.

    Parameters
    ----------
    x : array_like of int
        In the range of int32.
    multiplier, shift : array_like of int
        From `quantize_multiplier`; broadcast against `x`.
    """
    shift = np.asarray(shift, np.int64)
    left = np.maximum(shift, 0)
    x = np.asarray(x, np.int64)
    if left.any():
        x = wrap_int32(x << left)
    high = saturating_rounding_doubling_high_mul(x, multiplier)
    return rounding_divide_by_pot(high, np.maximum(-shift, 0))


def inverse_square_root(x: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Multiplier and shift of 1 / sqrt(x): ``GetInvSqrtQuantizedMultiplierExp``.

    Five steps of Newton's method in Q3.28.

    Parameters
    ----------
    x : array_like of int
        At least 1, below 2**29.

    Returns
    -------
    multiplier, shift : ndarray of int64
        As `multiply_by_quantized_multiplier` takes them.
    """
    x = np.asarray(x, np.int64)
    leading_zeros = 31 - np.floor(np.log2(x)).astype(np.int64)
    pairs = (leading_zeros - 1) // 2 - 1
    shift = 11 - pairs
    value = (x << 2 * pairs) >> 1
    half = rounding_divide_by_pot(value, 1)
    root = np.full_like(x, 1 << 28)
    for _ in range(5):
        square = saturating_rounding_doubling_high_mul(root, root)
        cube = saturating_rounding_doubling_high_mul(square, root)
        cube = saturating_rounding_multiply_by_pot(cube, 6)
        step = saturating_rounding_doubling_high_mul(
            (1 << 28) + (1 << 27), root
        ) - saturating_rounding_doubling_high_mul(half, cube)
        root = saturating_rounding_multiply_by_pot(step, 3)
    root = saturating_rounding_doubling_high_mul(root, 1518500250)
    root = np.where(shift < 0, root << np.maximum(-shift, 0), root)
    shift = np.maximum(shift, 0)
    one = x == 1
    return np.where(one, (1 << 31) - 1, root), np.where(one, 0, -shift)


def input_radius(integer_bits: int, shift: int) -> int:
    """Largest \\|input\\| that still fits Q`integer_bits` once it is shifted left by `shift`.

    ``CalculateInputRadius`` of TensorFlow Lite, for 31 bits.
    """
    return int(((1 << integer_bits) - 1) * 2.0 ** (31 - integer_bits) / 2.0**shift)


# Below, `_mul` of Qa and Qb is Q(a + b); every step stays in int32 as it does in gemmlowp.

_mul = saturating_rounding_doubling_high_mul


def _exp_between_minus_quarter_and_zero(a: np.ndarray) -> np.ndarray:
    """exp on [-1/4, 0), Q0.31 to Q0.31: Taylor's series of degree four around -1/8."""
    exp_of_minus_eighth = 1895147668
    one_third = 715827883
    x = a + (1 << 28)
    x2 = _mul(x, x)
    x3 = _mul(x2, x)
    x4 = _mul(x2, x2)
    x4_over_4 = rounding_divide_by_pot(x4, 2)
    tail = rounding_divide_by_pot(_mul(x4_over_4 + x3, one_third) + x2, 1)
    return _saturate(exp_of_minus_eighth + _mul(exp_of_minus_eighth, x + tail))


def exp_on_negative_values(a: ArrayLike, integer_bits: int) -> np.ndarray:
    """exp(a) for a <= 0, from Q`integer_bits` to Q0.31.

    gemmlowp's ``exp_on_negative_values``: the part below a quarter by a series, then a
    multiplication by exp(-2**k) for each bit of the rest.

    Parameters
    ----------
    a : array_like of int
        Not positive, in Q`integer_bits`.
    integer_bits : int
        0 .. 5.
    """
    if not 0 <= integer_bits <= 5:
        raise ValueError(f"integer bits must be 0 to 5, not {integer_bits!r}")
    # exp(-2**k) in Q0.31 for k = -2 .. 4
    factors = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
    a = np.asarray(a, np.int64)
    fraction_bits = 31 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    below_quarter = (a & (quarter - 1)) - quarter
    result = _exp_between_minus_quarter_and_zero(
        saturating_rounding_multiply_by_pot(below_quarter, integer_bits)
    )
    remainder = below_quarter - a
    for exponent, factor in enumerate(factors, start=-2):
        if integer_bits > exponent:
            bit = 1 << (fraction_bits + exponent)
            result = np.where(remainder & bit, _mul(result, factor), result)
    return np.where(a == 0, _Q0_ONE, result)


def _reciprocal_of_half_denominator(half_denominator: np.ndarray) -> np.ndarray:
    """1 / d for d in [1/2, 1], Q0.31 to Q2.29: three Newton-Raphson steps from 48/17 - 32/17 d."""
    x = 1515870810 + _mul(half_denominator, -1010580540)
    for _ in range(3):
        error = (1 << 29) - _mul(half_denominator, x)
        x = x + saturating_rounding_multiply_by_pot(_mul(x, error), 2)
    return x


def _half_of_one_plus(a: np.ndarray) -> np.ndarray:
    """(1 + a) / 2 for a >= 0, Q0.31, rounded up: gemmlowp's ``RoundingHalfSum``."""
    return (a + _Q0_ONE + 1) >> 1


def one_over_one_plus_x(a: ArrayLike) -> np.ndarray:
    """1 / (1 + a) for a in [0, 1], Q0.31 to Q0.31."""
    x = _reciprocal_of_half_denominator(_half_of_one_plus(np.asarray(a, np.int64)))
    return saturating_rounding_multiply_by_pot(x, 1)


def one_minus_x_over_one_plus_x(a: ArrayLike) -> np.ndarray:
    """(1 - a) / (1 + a) for a in [0, 1], Q0.31 to Q0.31."""
    x = _reciprocal_of_half_denominator(_half_of_one_plus(np.asarray(a, np.int64)))
    return saturating_rounding_multiply_by_pot(x - (1 << 29), 2)


def logistic(a: ArrayLike, integer_bits: int) -> np.ndarray:
    """1 / (1 + exp(-a)), from Q`integer_bits` to Q0.31."""
    a = np.asarray(a, np.int64)
    positive = one_over_one_plus_x(exp_on_negative_values(-np.abs(a), integer_bits))
    result = np.where(a > 0, positive, _Q0_ONE - positive)
    return np.where(a == 0, 1 << 30, result)


def tanh(a: ArrayLike, integer_bits: int) -> np.ndarray:
    """Hyperbolic tangent, from Q`integer_bits` to Q0.31; ``integer_bits`` is at most 4."""
    a = np.asarray(a, np.int64)
    # tanh(a) = (1 - exp(-2a)) / (1 + exp(-2a)); doubling costs no bit but moves the point
    positive = one_minus_x_over_one_plus_x(exp_on_negative_values(-np.abs(a), integer_bits + 1))
    return np.where(a == 0, 0, np.where(a < 0, -positive, positive))


def _softmax_factor(scale: float, beta: float = 1.0) -> float:
    """From steps of the logits to Q5.26."""
    return min(float(beta) * float(scale) * 2.0 ** (31 - _SOFTMAX_INPUT_BITS), 2.0**31 - 1.0)


def _below_maximum(x: np.ndarray) -> np.ndarray:
    """How far each logit is below the greatest of its row: -255 .. 0."""
    wide = x.astype(np.int64)
    return wide - wide.max(axis=-1, keepdims=True)


def _exponentials(multiplier: int, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """For every difference, -255 .. 0: its exponential in Q0.31, and itself in Q5.26.

    A difference that does not fit Q5.26 has 0 for both.
    """
    every = np.arange(-255, 1)
    in_range = every >= -input_radius(_SOFTMAX_INPUT_BITS, shift)
    scaled = _mul(np.where(in_range, every, 0) << shift, multiplier)
    exponential = np.where(in_range, exp_on_negative_values(scaled, _SOFTMAX_INPUT_BITS), 0)
    return exponential, scaled


def softmax(x: np.ndarray, scale: float, beta: float = 1.0) -> np.ndarray:
    """Softmax of int8 logits along the last axis, to int8 with scale 1/256 and zero point -128.

    ``reference_ops::Softmax`` of TensorFlow Lite: differences to the row's maximum in Q5.26, their
    exponentials summed in Q12.19, the sum's reciprocal by Newton-Raphson.

    Parameters
    ----------
    x : ndarray of int8, shape (..., classes)
        At most 4095 classes: more could overflow the sum.
    scale : float
        Scale of `x`; the zero point does not matter.
    beta : float
        Factor of the logits.

    Returns
    -------
    ndarray of int8
        Same shape as `x`.

    Raises
    ------
    ValueError
        If there are too many classes, or ``beta * scale`` is so small that it cannot be written.
    """
    if x.shape[-1] > _SOFTMAX_SUM_MAX_TERMS:
        raise ValueError(f"at most {_SOFTMAX_SUM_MAX_TERMS} classes fit the sum, not {x.shape[-1]}")
    factor = _softmax_factor(scale, beta)
    multiplier, shift = (int(part) for part in quantize_multiplier(factor))
    if not 0 <= shift:
        raise ValueError(f"scale {scale!r} times beta {beta!r} is too small for softmax")
    difference = _below_maximum(x)
    exponential, _ = _exponentials(multiplier, shift)
    terms = exponential[difference + 255]
    total = rounding_divide_by_pot(terms, _SOFTMAX_SUM_BITS).sum(axis=-1, keepdims=True)
    # total >= 2**19, so frexp is exact and gives 32 minus the leading zeros
    leading_zeros = 32 - np.frexp(total.astype(np.float64))[1].astype(np.int64)
    reciprocal = one_over_one_plus_x((total << leading_zeros) - (1 << 31))
    bits_over_unit = _SOFTMAX_SUM_BITS - leading_zeros
    result = rounding_divide_by_pot(_mul(reciprocal, terms), bits_over_unit + 31 - 8) - 128
    # A term out of range is 0 here and gives -128, as the reference writes it.
    return np.clip(result, -128, 127).astype(np.int8)


def log_softmax(x: np.ndarray, scale: float) -> np.ndarray:
    """Logarithm of softmax along the last axis, to int8 with scale 1/16 and zero point 127.

    ``reference_ops::LogSoftmaxQuantized`` of TensorFlow Lite: the sum of exponentials in Q12.19,
    its logarithm in Q5.26, taken from the differences to the row's maximum.

    Parameters
    ----------
    x : ndarray of int8, shape (..., classes)
        At most 4095 classes: more could overflow the sum.
    scale : float
        Scale of `x`, above 2**-26; the zero point does not matter.

    Returns
    -------
    ndarray of int8
        Same shape as `x`.
    """
    multiplier, shift = (int(part) for part in quantize_multiplier(_softmax_factor(scale)))
    radius = input_radius(_SOFTMAX_INPUT_BITS, shift)
    reverse = quantize_multiplier(2.0 ** (31 - shift) / multiplier)
    difference = _below_maximum(x)
    exponential, scaled = _exponentials(multiplier, shift)
    terms = rounding_divide_by_pot(exponential, _SOFTMAX_SUM_BITS)
    logarithm = _log_of_sum(terms[difference + 255].sum(axis=-1, keepdims=True))
    least = np.maximum(
        -radius - 1, multiply_by_quantized_multiplier(logarithm + INT32_MIN, *reverse)
    )
    places = 31 - _SOFTMAX_INPUT_BITS - 4
    result = rounding_divide_by_pot(scaled[difference + 255] - logarithm, places) + 127
    return np.where(difference > least, np.clip(result, -128, 127), -128).astype(np.int8)


def _log_of_sum(z: np.ndarray) -> np.ndarray:
    """log(z) for z >= 1, from Q12.19 to Q5.26.

    ``log_x_for_x_greater_than_or_equal_to_1_impl`` of TensorFlow Lite's ``common.h``: z is brought
    near one, by a power of two with and without a factor of sqrt(1/2), of which the nearer one is
    taken, and a rational function does the rest.
    """
    log_2, fourth_root_of_half, sqrt_half = 1488522236, 1805811301, 1518500250
    alpha_n, alpha_d, alpha_i, alpha_f = 117049297, 127690142, 1057819769, 638450708
    sum_bits, exponent_bits = 31 - 6, _SOFTMAX_SUM_BITS
    quarter = 1 << (sum_bits - 2)

    def leading_zeros(value: np.ndarray) -> np.ndarray:
        # of positive numbers below 2**31, which float64 holds exactly
        return 32 - np.frexp(value.astype(np.float64))[1].astype(np.int64)

    zeros = leading_zeros(z)
    nearer = _saturate(_mul(z << (zeros - 1), sqrt_half) << 1)
    exponent = ((exponent_bits - zeros) << sum_bits) + quarter
    headroom = leading_zeros(_mul(z, sqrt_half)) - 1
    other = _saturate(z << headroom)
    other_exponent = ((exponent_bits - headroom) << sum_bits) - quarter
    r = np.minimum(nearer, other)
    exponent = np.maximum(exponent, other_exponent)
    p = (r + fourth_root_of_half + 1) >> 1
    q = 2 * (r - fourth_root_of_half)
    square = _mul(q, q)
    numerator = _mul(q, r) + _mul(_mul(q, square), alpha_n)
    denominator = _mul(p, alpha_i + q + _mul(alpha_d, square)) + _mul(alpha_f, q)
    quotient = _mul(rounding_divide_by_pot(numerator, 6), one_over_one_plus_x(denominator))
    return _saturate((_mul(exponent, log_2) + quotient) << 1)
