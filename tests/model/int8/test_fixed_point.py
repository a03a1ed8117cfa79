"""Corners of the integer arithmetic, against plain Python integers and real functions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from model.int8 import fixed_point as fp

INT32_CORNERS = (
    *(fp.INT32_MIN, fp.INT32_MIN + 1, -(1 << 30), -(1 << 30) - 1, -3, -2, -1),
    *(0, 1, 2, 3, (1 << 30) - 1, 1 << 30, fp.INT32_MAX - 1, fp.INT32_MAX),
)


def _truncating_divide(a: int, b: int) -> int:
    return abs(a) // b * (1 if a >= 0 else -1)


def _gemmlowp_high_mul(a: int, b: int) -> int:
    """``SaturatingRoundingDoublingHighMul`` as gemmlowp writes it."""
    if a == b == fp.INT32_MIN:
        return fp.INT32_MAX
    nudge = (1 << 30) if a * b >= 0 else 1 - (1 << 30)
    return _truncating_divide(a * b + nudge, 1 << 31)


def _gemmlowp_divide(x: int, exponent: int) -> int:
    """``RoundingDivideByPOT`` as gemmlowp writes it."""
    mask = (1 << exponent) - 1
    threshold = (mask >> 1) + (1 if x < 0 else 0)
    return (x >> exponent) + (1 if (x & mask) > threshold else 0)


def _random_int32(count: int) -> list[int]:
    rng = np.random.default_rng(1)
    return [int(x) >> int(s) for x, s in zip(rng.integers(-(2**31), 2**31, count), range(count))]


def test_high_mul_is_gemmlowps():
    values = [*INT32_CORNERS, *_random_int32(31)]
    actual = fp.saturating_rounding_doubling_high_mul(np.array(values)[:, np.newaxis], values)
    expected = [[_gemmlowp_high_mul(a, b) for b in values] for a in values]
    assert actual.tolist() == expected


@pytest.mark.parametrize("exponent", [0, 1, 2, 7, 30, 31])
def test_rounding_divide_is_gemmlowps(exponent):
    values = [*INT32_CORNERS, *_random_int32(31), *range(-300, 300)]
    actual = fp.rounding_divide_by_pot(values, exponent)
    assert actual.tolist() == [_gemmlowp_divide(x, exponent) for x in values]


def test_rounding_divide_rounds_half_away_from_zero():
    assert fp.rounding_divide_by_pot([-6, -5, -2, 2, 5, 6], 2).tolist() == [-2, -1, -1, 1, 1, 2]


def test_multiply_rounds_twice():
    # 1 * 0.25: the high product 0.5 rounds up to 1, and half of that rounds up to 1 again, where a
    # single rounding would give 0. -1 * 0.25: -0.5 rounds up to 0.
    quarter = (1 << 30, -1)
    assert fp.multiply_by_quantized_multiplier([1, 2, 3, -1, -2], *quarter).tolist() == [
        *(1, 1, 1, 0, -1)
    ]


def test_multiply_shifts_left_first_and_wraps():
    assert fp.multiply_by_quantized_multiplier(3, 1 << 30, 4) == 24
    assert fp.multiply_by_quantized_multiplier(1 << 30, 1 << 30, 2) == 0


@pytest.mark.parametrize(
    ("scale", "multiplier", "shift"),
    [
        (1.0, 1 << 30, 1),
        (0.5, 1 << 30, 0),
        (0.75, 3 << 29, 0),
        (1 - 2**-40, 1 << 30, 1),  # rounds up to a whole, so the shift takes it
        (0.0, 0, 0),
        (2.0**-32, 1 << 30, -31),
        (2.0**-33, 0, 0),  # too small to be written
        (3.0, 3 << 29, 2),
    ],
)
def test_quantize_multiplier(scale, multiplier, shift):
    actual = fp.quantize_multiplier(scale)
    assert (int(actual[0]), int(actual[1])) == (multiplier, shift)


@pytest.mark.parametrize("scale", [-1.0, math.nan, math.inf])
def test_quantize_multiplier_refuses(scale):
    with pytest.raises(ValueError, match="finite and not negative"):
        fp.quantize_multiplier(scale)


@pytest.mark.parametrize("integer_bits", [0, 2, 4, 5])
def test_exp_is_close_to_exp(integer_bits):
    real = -np.linspace(0, 2**integer_bits, 1000, endpoint=False)
    raw = np.round(real * 2.0 ** (31 - integer_bits)).astype(np.int64)
    error = fp.exp_on_negative_values(raw, integer_bits) / 2**31 - np.exp(real)
    assert np.abs(error).max() < 3e-7


def test_exp_refuses_more_integer_bits():
    with pytest.raises(ValueError, match="0 to 5, not 6"):
        fp.exp_on_negative_values(0, 6)


def test_logistic_and_tanh_are_close():
    real = np.linspace(-15.99, 15.99, 2001)
    raw = np.round(real * 2.0**27).astype(np.int64)
    assert np.abs(fp.logistic(raw, 4) / 2**31 - 1 / (1 + np.exp(-real))).max() < 2e-7
    assert np.abs(fp.tanh(raw, 4) / 2**31 - np.tanh(real)).max() < 3e-7


def test_softmax_is_close_and_sums_to_one():
    x = np.random.default_rng(0).integers(-128, 128, (100, 10)).astype(np.int8)
    real = np.exp(x * 0.05) / np.exp(x * 0.05).sum(axis=1, keepdims=True)
    actual = (fp.softmax(x, 0.05).astype(int) + 128) / 256
    assert np.abs(actual - real).max() <= 0.6 / 256


def test_the_logarithm_of_a_sum_is_right_to_three_steps():
    draws = 2 ** np.random.default_rng(0).uniform(19, 31, 20000)
    z = np.concatenate([np.arange(1 << 19, (1 << 19) + 1000), draws.astype(np.int64)])
    error = fp._log_of_sum(z) - np.log(z / 2**19) * 2**26
    assert np.abs(error).max() < 3


def test_softmax_refuses_what_would_overflow():
    with pytest.raises(ValueError, match="at most 4095 classes"):
        fp.softmax(np.zeros((1, 4096), np.int8), 0.1)
    with pytest.raises(ValueError, match="too small"):
        fp.softmax(np.zeros((1, 4), np.int8), 1e-12)


def test_wrap_keeps_32_bits():
    assert fp.wrap_int32([1 << 31, -(1 << 31) - 1, 5]).tolist() == [
        fp.INT32_MIN,
        fp.INT32_MAX,
        5,
    ]


def test_every_bit_of_the_functions():
    """Bits too low for an int8 answer to show; recorded when all 1.5 M TFLM answers agreed."""
    raw = [0, -1, -12345678, -(1 << 24), -(1 << 26), -987654321, -(1 << 30), -(1 << 31) + 1]
    assert fp.exp_on_negative_values(raw, 5).tolist() == [
        *(2147483647, 2147483124, 1786631188, 1672462419, 790015308, 872, 242, 0)
    ]
    assert fp.exp_on_negative_values(raw, 0).tolist() == [
        *(2147483647, 2147483155, 2135173001, 2130771442),
        *(2081412406, 1355790146, 1302515042, 790015308),
    ]
    raw = [0, 1, 1 << 29, 1 << 30, 1987654321, fp.INT32_MAX]
    assert fp.one_over_one_plus_x(raw).tolist() == [
        *(2147483647, 2147483647, 1717986914, 1431655762, 1115243566, 1073741820)
    ]
    assert fp.one_minus_x_over_one_plus_x(raw).tolist() == [
        *(2147483647, 2147483647, 1288490180, 715827876, 83003484, -8)
    ]
