"""Products and maxima of two tensors: tapes of single layers against TFLite's arithmetic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gateware.interface.configuration import EngineConfiguration
from host.compiler.errors import CompileError
from host.compiler.layers import View
from host.compiler.two_tensors import Multiplication, in_bands, maximum, multiply, spread
from model.int8.builder import GraphBuilder
from model.int8.fixed_point import quantize_multiplier
from model.int8.graph import Activation
from tests.host.compiler.hand_made import HandMade
from tests.host.compiler.networks import SIZES, ZERO_POINTS, configuration
from tests.host.compiler.pairs import (
    expected_product,
    random_bytes,
    random_pair,
    random_rule,
    random_shape,
    view_of,
)
from tests.model.int8 import oracle

ENGINES = [configuration(size) for size in SIZES]


def name(engine: EngineConfiguration) -> str:
    return f"{engine.lanes}x{engine.pixels}x{engine.requantizers}"


@pytest.mark.parametrize("engine", ENGINES, ids=name)
def test_random_pairs(engine: EngineConfiguration) -> None:
    rng = np.random.default_rng([engine.lanes, engine.pixels])
    for number in range(20):
        bench, layer, target, expected = random_pair(rng, engine, number)
        bench.load([layer])
        assert np.array_equal(bench.read(target, bench.run()), expected)


#: Values around which arithmetic changes, and some between.
_VALUES = sorted({-128, -127, -65, -64, -1, 0, 1, 63, 64, 65, 126, 127, *range(-120, 121, 24)})


@pytest.mark.parametrize("engine", ENGINES[1:4], ids=name)
@pytest.mark.parametrize(
    ("zero_points", "scale"), [((-128, -128), 0.0037), ((127, -128), 7.9), ((5, -7), 2**-9)]
)
def test_extreme_bytes(
    engine: EngineConfiguration, zero_points: tuple[int, int], scale: float
) -> None:
    """With the zero points that need the most weights, and a left shift."""
    a, b = (values[:, :, np.newaxis].astype(np.int8) for values in np.meshgrid(_VALUES, _VALUES))
    multiplier, shift = (int(n) for n in quantize_multiplier(scale))
    rule = Multiplication(zero_points, multiplier, shift, -3)
    bench = HandMade(np.random.default_rng(0), engine)
    one, other, target = (bench.place(view_of(a.shape, engine)) for _ in range(3))
    bench.write(one, a)
    bench.write(other, b)
    bench.load([multiply("mul", ("MUL",), (one, other), target, rule, engine)])
    assert np.array_equal(bench.read(target, bench.run()), expected_product(a, b, rule))


@pytest.mark.parametrize("engine", ENGINES, ids=name)
def test_one_pixel_is_spread_over_a_picture(engine: EngineConfiguration) -> None:
    """As in squeeze-and-excitation: a factor for each channel, copied to a few rows at a time."""
    rng = np.random.default_rng([engine.lanes, engine.pixels, 1])
    for number in range(6):
        bench, shape = HandMade(rng, engine), random_shape(rng)
        height, width, channels = shape
        rows = int(rng.integers(1, height + 1))
        one, target = (bench.place(view_of(shape, engine, number % 2 == 0)) for _ in range(2))
        few = bench.place(view_of((1, 1, channels), engine, number % 2 == 0))
        copies = bench.place(view_of((rows, width, channels), engine, number % 2 == 0))
        a, b = random_bytes(rng, one), random_bytes(rng, few)
        bench.write(one, a)
        bench.write(few, b)
        rule = random_rule(rng)
        layers = [spread("spread", ("SPREAD",), few, copies)]
        for part, part_target in zip(in_bands(one, rows), in_bands(target, rows), strict=True):
            (other, *_) = in_bands(copies, part.height)
            layers.append(multiply("mul", ("MUL",), (part, other), part_target, rule, engine))
        bench.load(layers)
        assert np.array_equal(bench.read(target, bench.run()), expected_product(a, b, rule))


def test_a_row_or_a_column_is_spread() -> None:
    engine = ENGINES[1]
    for shape in ((1, 7, 4), (5, 1, 4), (5, 7, 4)):
        bench = HandMade(np.random.default_rng(shape), engine)
        source, target = (
            bench.place(view_of(shape, engine)),
            bench.place(view_of((5, 7, 4), engine)),
        )
        values = random_bytes(bench.rng, source)
        bench.write(source, values)
        bench.load([spread("spread", ("SPREAD",), source, target)])
        assert np.array_equal(bench.read(target, bench.run()), np.broadcast_to(values, (5, 7, 4)))
    for shape in ((2, 7, 4), (5, 3, 4), (1, 1, 3)):
        with pytest.raises(CompileError, match="layer spread: .* cannot be spread over"):
            spread("spread", ("SPREAD",), view_of(shape, engine), target)


def test_what_the_engine_cannot_multiply() -> None:
    engine = ENGINES[1]
    view = view_of((4, 5, 6), engine)
    rule = Multiplication((0, 0), 1 << 30, 0, 0)

    def refusal(
        source: View = view,
        other: View = view,
        rule: Multiplication = rule,
        engine: EngineConfiguration = engine,
    ) -> str:
        with pytest.raises(CompileError) as error:
            multiply("mul3", ("MUL",), (source, other), view, rule, engine)
        return str(error.value)

    without = replace(engine, products=False)
    assert refusal(engine=without) == "layer mul3: this engine has no products of two tensors"
    for shift, zero_points in ((4, (-128, 0)), (6, (0, 0))):
        text = refusal(rule=replace(rule, shift=shift, zero_points=zero_points))
        assert text == (
            f"layer mul3: its scale is {2 ** (shift - 1)} or more, the engine reaches no more than "
            f"8 with every zero point (input scale * input scale / output scale)"
        )
    assert "one shape, not 4x5x6, 4x5x5, 4x5x6" in refusal(other=replace(view, channels=5))
    assert "not with 6 and 8 bytes a pixel, 30 and 40 a row" in refusal(
        other=replace(view, pixel_pitch=8, row_pitch=40)
    )
    odd = replace(view, channels=5, pixel_pitch=7, row_pitch=36)
    with pytest.raises(CompileError, match="7 bytes a pixel, the engine reads 2 channels at once"):
        multiply("mul3", ("MUL",), (odd, odd), odd, rule, engine)


def test_a_scale_that_is_taken_for_zero() -> None:
    """``QuantizeMultiplier`` gives a multiplier of zero: every answer is the zero point."""
    engine = ENGINES[1]
    bench = HandMade(np.random.default_rng(0), engine)
    view = bench.place(view_of((2, 2, 3), engine))
    bench.write(view, np.full((2, 2, 3), 127, np.int8))
    rule = Multiplication((-128, -128), 0, 0, 11)
    bench.load([multiply("mul", ("MUL",), (view, view), view, rule, engine)])
    assert (bench.read(view, bench.run()) == 11).all()


@pytest.mark.parametrize("activation", [*Activation, None])
def test_tensorflow_lite_for_microcontrollers_agrees(activation: Activation | None) -> None:
    """MUL with every activation, or MAXIMUM, of two inputs: as TFLM computes them."""
    engine, shape = ENGINES[1], (5, 9, 6)
    rng = np.random.default_rng(0)
    different: set[int] = set()
    for _ in range(4):
        scales = 2 ** rng.uniform((-8, -8, -1), (-2, -2, 2))
        zero_points = [int(n) for n in rng.choice(ZERO_POINTS, 3)]
        builder = GraphBuilder("two", shape, float(scales[0]), zero_points[0])
        first = builder.last
        second = builder.input(shape, float(scales[1]), zero_points[1])
        builder.last = first
        if activation is None:
            builder.maximum(second)
        else:
            # Products of 255 steps come near to the output's range, or go beyond it.
            scale = float(scales[0] * scales[1] * 64 * scales[2])
            builder.mul(second, scale=scale, zero_point=zero_points[2], activation=activation)
        graph = builder.build()
        a, b = (rng.integers(-128, 128, shape).astype(np.int8) for _ in range(2))
        wanted = oracle.outputs(graph, {"input": a[np.newaxis], "input2": b[np.newaxis]})
        bench = HandMade(rng, engine)
        one, other, target = (bench.place(view_of(shape, engine)) for _ in range(3))
        bench.write(one, a)
        bench.write(other, b)
        if activation is None:
            layer = maximum("max", ("MAXIMUM",), (one, other), target, engine)
        else:
            rule = Multiplication.of(graph, graph.operators[0])
            layer = multiply("mul", ("MUL",), (one, other), target, rule, engine)
        bench.load([layer])
        (expected,) = wanted.values()
        assert np.array_equal(bench.read(target, bench.run()), expected[0])
        different |= {int(value) for value in np.unique(expected)}
    assert len(different) > 10
