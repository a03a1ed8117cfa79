"""Random layers that read two tensors, and what they must give."""

from __future__ import annotations

import numpy as np

from gateware.interface.configuration import EngineConfiguration
from host.compiler.layers import Layer, View
from host.compiler.two_tensors import Multiplication, maximum, multiply
from model.int8.fixed_point import multiply_by_quantized_multiplier, quantize_multiplier
from tests.host.compiler.hand_made import Bytes, HandMade
from tests.host.compiler.networks import ZERO_POINTS


def expected_product(a: Bytes, b: Bytes, rule: Multiplication) -> Bytes:
    """``reference_integer_ops::Mul``."""
    one, other = (values.astype(np.int64) - zero for values, zero in zip((a, b), rule.zero_points))
    scaled = multiply_by_quantized_multiplier(one * other, rule.multiplier, rule.shift)
    return np.clip(scaled + rule.zero_point, rule.minimum, rule.maximum).astype(np.int8)


def random_rule(rng: np.random.Generator) -> Multiplication:
    """Extreme zero points, and scales of all sizes that the engine has."""
    multiplier, shift = (int(n) for n in quantize_multiplier(2 ** rng.uniform(-18, 2.99)))
    low, high = sorted(int(n) for n in rng.integers(-128, 128, 2))
    clamp = (-128, 127) if rng.random() < 0.6 else (low, high)
    one, other, output = (int(n) for n in rng.choice(ZERO_POINTS, 3))
    return Multiplication((one, other), multiplier, shift, output, *clamp)


def random_shape(rng: np.random.Generator) -> tuple[int, int, int]:
    height, width, channels = (int(n) for n in rng.integers(1, (6, 9, 12)))
    return height, width, channels


def view_of(shape: tuple[int, int, int], engine: EngineConfiguration, padded: bool = False) -> View:
    """A picture as lowering stores it: dense, or its pixels padded to whole groups."""
    height, width, channels = shape
    pixel = channels
    if engine.requantizers > 1 or padded:
        pixel += -channels % engine.channel_group
    pitch = width * pixel
    return View(0, height, width, channels, pixel, pitch + -pitch % engine.word_bytes)


def random_bytes(rng: np.random.Generator, view: View) -> Bytes:
    shape = (view.height, view.width, view.channels)
    if rng.random() < 0.3:
        return rng.choice([-128, -127, 0, 126, 127], shape).astype(np.int8)
    return rng.integers(-128, 128, shape).astype(np.int8)


def random_table(rng: np.random.Generator) -> Bytes | None:
    return rng.integers(-128, 128, 256).astype(np.int8) if rng.random() < 0.3 else None


def through(table: Bytes | None, values: Bytes) -> Bytes:
    return values if table is None else table[values.astype(np.intp) + 128]


def random_pair(
    rng: np.random.Generator, engine: EngineConfiguration, number: int
) -> tuple[HandMade, Layer, View, Bytes]:
    """A product, or the greater of two, in memory; the view of the result, and what it must be."""
    bench, shape = HandMade(rng, engine), random_shape(rng)
    padded, target_padded = rng.random(2) < 0.5
    one, other = (bench.place(view_of(shape, engine, padded)) for _ in range(2))
    if padded or not target_padded or shape[2] % engine.channel_group == 0:
        target = bench.place(view_of(shape, engine, target_padded))
    else:
        target = bench.place(view_of(shape, engine))
    if number % 5 == 0:
        target = one
    elif number % 5 == 1:
        target = other
    elif number % 5 == 2:
        other = one
    a = random_bytes(rng, one)
    b = a if other is one else random_bytes(rng, other)
    bench.write(one, a)
    bench.write(other, b)
    table = random_table(rng)
    if number % 4 == 3:
        layer = maximum("max", ("MAXIMUM",), (one, other), target, engine, table)
        expected = np.maximum(a, b)
    else:
        rule = random_rule(rng)
        layer = multiply("mul", ("MUL",), (one, other), target, rule, engine, table)
        expected = expected_product(a, b, rule)
    return bench, layer, target, through(table, expected)
