"""Additions by two tables: exact for every pair of bytes, or refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from gateware.interface.tape import ADDITION_SHIFT, TABLE_BITS
from host.compiler import CompileError
from host.compiler.addition import find_addition
from model.int8 import reference, tflite
from model.int8.builder import GraphBuilder
from model.int8.graph import Activation, OperatorKind

DATA = Path(__file__).parents[4] / "shared" / "data"
BYTES = np.arange(-128, 128)
ZERO_POINTS = (-128, -127, -1, 0, 126, 127)


def reference_addition(scales, zeros, activation=Activation.NONE):
    """The reference's output for every pair of bytes; scales and zero points: inputs, output."""
    builder = GraphBuilder("net", (1,), scales[1], zeros[1])
    builder.quantize(scales[0], zeros[0])
    builder.add(0, scale=scales[2], zero_point=zeros[2], activation=activation)
    graph = builder.build()
    return reference.addition(graph, graph.operators[-1])


def check(wanted):
    addition = find_addition("add1", wanted)
    result = addition.apply(BYTES[:, np.newaxis], BYTES[np.newaxis, :])
    assert result.dtype == np.int8 and np.array_equal(result, wanted)
    # The engine's own words: no entry and no sum wraps.
    first, second = addition.tables
    limit = 1 << (TABLE_BITS - 1)
    for numbers in (first, second, first[:, np.newaxis] + second):
        assert -limit <= numbers.min() and numbers.max() < limit
    return addition


@pytest.mark.parametrize("seed", range(40))
def test_random_quantisation(seed):
    rng = np.random.default_rng(seed)
    first = 2 ** rng.uniform(-8, 0)
    second = first if seed % 4 == 0 else first * 2 ** rng.uniform(-3, 3)
    output = max(first, second) * 2 ** rng.uniform(-1, 1.5)
    zeros = rng.integers(-128, 128, 3) if seed % 3 else rng.choice(ZERO_POINTS, 3)
    activation = list(Activation)[int(rng.integers(len(Activation)))]
    check(reference_addition((first, second, output), [int(zero) for zero in zeros], activation))


@pytest.mark.parametrize("zeros", [(-128, -128, -128), (127, 127, 127), (-128, -128, 127)])
@pytest.mark.parametrize("activation", list(Activation))
@pytest.mark.parametrize(
    "scales",
    [
        (1, 1, 1),
        (0.1, 0.1, 0.0501),
        (1, 1 / 3000, 1),  # the second input hardly counts
        (1e-6, 0.7, 0.8),
        (3, 1, 50),  # few outputs
        (1, 1, 1000),  # one output
    ],
)
def test_corners(scales, zeros, activation):
    check(reference_addition(scales, zeros, activation))


def test_order_of_the_inputs():
    wanted = reference_addition((0.5, 0.0317, 0.618), (3, -70, 12))
    addition = check(wanted)
    assert addition.apply(100, -5) == wanted[228, 123]
    assert np.ptp(addition.tables[0]) > 10 * np.ptp(addition.tables[1])


def test_one_output_needs_no_sum():
    addition = check(np.full((256, 256), -7, np.int8))
    assert (addition.low, addition.high) == (-7, -7)


def test_what_the_clamp_hides_is_free():
    # An entry cannot hold what goes into the sum, but may stop where that changes nothing.
    steep = np.abs(BYTES) * 1000
    assert steep.max() << ADDITION_SHIFT > 1 << TABLE_BITS
    check(np.clip(np.add.outer(steep, steep), 0, 90).astype(np.int8))


def refuses(wanted, text):
    with pytest.raises(CompileError, match=f"^layer block/add2: {re.escape(text)}") as caught:
        find_addition("block/add2", wanted)
    assert "\n" not in str(caught.value)


def test_refuses_sums_that_need_more_bits():
    # The extreme sums are clamped, but those near zero between them pin the tables' slopes.
    scale = 2.0 ** (ADDITION_SHIFT - TABLE_BITS)
    check(reference_addition((1, 0.757, 500 * scale), (0, 0, 0)))
    refuses(
        reference_addition((1, 0.757, 300 * scale), (0, 0, 0)),
        f"its sums need more than {TABLE_BITS} bits, the engine's limit",
    )


def test_refuses_halves_that_no_sum_of_tables_rounds_alike():
    # 5/12 of a whole number is often half-way between two others.
    scale = 0.029867175966501236
    refuses(
        reference_addition((scale, scale, 2.4 * scale), (-34, -128, 0)),
        "the reference rounds some halves up and some down",
    )


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here")
def test_real_models():
    graph = tflite.load(DATA / "models" / "pretrainedResnet_quant.tflite")
    additions = [op for op in graph.operators if op.kind is OperatorKind.ADD]
    assert len(additions) == 3
    for operator in additions:
        check(reference.addition(graph, operator))
