"""Folding of zero points, dead channels and left shifts: the function must stay the same."""

from __future__ import annotations

import numpy as np
import pytest

from host.compiler.channels import average, fit_channels, signed_bits
from model.int8.fixed_point import multiply_by_quantized_multiplier, quantize_multiplier
from model.int8.reference import Requantization
from tests.host.compiler.networks import ZERO_POINTS, configuration


def rule(scales, input_zero_point=0, output_zero_point=0, minimum=-128, maximum=127):
    multiplier, shift = quantize_multiplier(scales)
    return Requantization(multiplier, shift, input_zero_point, output_zero_point, minimum, maximum)


def engine(weights, epilogue, x):
    """What the engine computes of ``x``, shape (n, taps)."""
    scaled = multiply_by_quantized_multiplier(
        x @ weights.T + epilogue.bias, epilogue.multiplier, -epilogue.shift
    )
    return np.clip(scaled + epilogue.zero_point, epilogue.minimum, epilogue.maximum)


def reference(weights, bias, rule, x):
    return rule.apply((x - rule.input_zero_point) @ weights.T + bias)


@pytest.mark.parametrize("zero_point", ZERO_POINTS)
def test_function_is_the_references(zero_point):
    rng = np.random.default_rng(zero_point + 128)
    scales = 2.0 ** rng.uniform(-31, -1, 40)
    weights = rng.integers(-127, 128, (40, 20))
    bias = rng.integers(-(2**17), 2**17, 40)
    bias[:4] = (2**30, -(2**30), 2**30 + 1, -(2**30) - 1)
    scales[:4] = 2.0**-10
    exact = rule(scales, zero_point, int(rng.choice(ZERO_POINTS)))
    fitted, epilogue = fit_channels("layer", weights, bias, exact, configuration((8, 2)))
    x = rng.integers(-128, 128, (500, 20))
    assert np.array_equal(engine(fitted, epilogue, x), reference(weights, bias, exact, x))
    assert not fitted[:4].any()
    assert np.abs(epilogue.bias[:4]).max() < 512
    assert epilogue.multiplier.min() >= 1 << 30
    assert 0 <= epilogue.shift.min() <= epilogue.shift.max() <= 31


def test_scale_that_vanishes_is_a_dead_channel():
    exact = rule(np.array([2.0**-40]), output_zero_point=7)
    weights, epilogue = fit_channels(
        "layer", np.full((1, 4), 127), np.zeros(1, np.int64), exact, configuration((8, 2))
    )
    assert not weights.any()
    assert engine(weights, epilogue, np.full((1, 4), 127)) == 7


def test_left_shift_moves_into_small_weights():
    exact = rule(np.array([3.7]), 5, -3)
    weights, bias = np.array([[31, -32, 2]]), np.array([-9])
    fitted, epilogue = fit_channels("layer", weights, bias, exact, configuration((8, 2)))
    assert np.array_equal(fitted, weights * 4)
    x = np.random.default_rng(0).integers(-128, 128, (500, 3))
    assert np.array_equal(engine(fitted, epilogue, x), reference(weights, bias, exact, x))


@pytest.mark.parametrize(
    "value, bits", [(0, 1), (-1, 1), (1, 2), (127, 8), (128, 9), (-128, 8), (-129, 9)]
)
def test_signed_bits(value, bits):
    assert signed_bits(value) == bits


def test_average_divides_every_sum():
    for count in (*range(1, 130), 256, 400, 576, 1000, 1023, 4096):
        weight, multiplier, shift = average(count)
        assert 1 <= weight <= 127
        assert 1 << 30 <= multiplier < 1 << 31
        assert 0 <= shift <= 31


@pytest.mark.parametrize("output", [-19, -3, 0, 18])
def test_channel_that_has_two_outputs_gets_a_small_bias(output):
    # Of MobileNet: what its inputs change is one step of the output, far from zero.
    weights = np.array([[127, 95, 9, -69, -114, -86, -26, -63, 24]])
    scale = 0.7287894 * 2.0**-20
    bias = np.array([round((output + 0.5) / scale)])
    exact = rule(np.array([scale]), -128, 3)
    fitted, epilogue = fit_channels("layer", weights, bias, exact, configuration((8, 2)))
    assert abs(int(epilogue.bias[0])) < 1 << 22
    x = np.random.default_rng(0).integers(-128, 128, (20000, 9))
    wanted = reference(weights, bias, exact, x)
    assert len(np.unique(wanted)) == 2
    assert np.array_equal(engine(fitted, epilogue, x), wanted)
