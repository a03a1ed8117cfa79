"""Arithmetic of two tensors and reductions: constants, broadcasting, every order of zero points."""

from __future__ import annotations

import numpy as np
import pytest

from host.compiler import CompileError
from model.int8.builder import GraphBuilder
from model.int8.graph import Activation
from tests.host.compiler.networks import ZERO_POINTS, configuration
from tests.host.compiler.test_moves import SIZES, agree, convolve

OPERATORS = ("add", "sub", "mul", "maximum", "minimum", "prelu")


def operand(rng, net, scale):
    """The number of a tensor to combine `last` with: a constant, or something computed."""
    shape = net.shape
    kind = str(rng.choice(["scalar", "channels", "row", "tensor", "pixel", "same"]))
    zero_point = int(rng.choice(ZERO_POINTS))
    if kind in ("scalar", "channels", "row"):
        sizes = {"scalar": (), "channels": shape[-1:], "row": (1, *shape[1:])}[kind]
        return net.constant(rng.integers(-128, 128, sizes).astype(np.int8), scale, zero_point)
    begin = net.last
    if kind == "same":
        net.quantize(scale, zero_point)
    elif kind == "pixel":
        net.mean(scale, zero_point)
    else:
        weights = rng.integers(-20, 21, (shape[-1], 1, 1, shape[-1])).astype(np.int8)
        net.conv_2d(weights, 2**-8, None, scale=scale, zero_point=zero_point)
    found, net.last = net.last, begin
    return found


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_two_tensors(size, name):
    refused = 0
    for seed in range(14):
        rng = np.random.default_rng([seed, *size, OPERATORS.index(name)])
        shape = tuple(int(n) for n in (*rng.integers(1, 6, 2), rng.integers(1, 12)))
        scale = float(2.0 ** rng.uniform(-5, -3))
        net = GraphBuilder("pairs", shape, scale, int(rng.choice(ZERO_POINTS)))
        if rng.random() < 0.6:
            weights = rng.integers(-20, 21, (shape[-1], 1, 1, shape[-1])).astype(np.int8)
            point = int(rng.choice(ZERO_POINTS))
            net.conv_2d(weights, 2**-6, None, scale=scale, zero_point=point)
        if name == "prelu":
            slopes = rng.integers(-60, 61, (1, 1, shape[-1])).astype(np.int8)
            net.prelu(slopes, 2**-6, scale=scale * float(rng.uniform(0.7, 2)), zero_point=3)
        else:
            other = operand(rng, net, float(np.float32(scale * 2.0 ** rng.uniform(-1, 1))))
            if rng.random() < 0.3 and name not in ("maximum", "minimum"):
                net.last, other = other, net.last
            if name in ("maximum", "minimum"):
                getattr(net, name)(other)
            else:
                factor = 16 * scale if name == "mul" else 1
                getattr(net, name)(
                    other,
                    scale=float(np.float32(scale * factor * rng.uniform(1.1, 3))),
                    zero_point=int(rng.choice(ZERO_POINTS)),
                    activation=Activation(str(rng.choice(["NONE", "RELU", "RELU_N1_TO_1"]))),
                )
        if rng.random() < 0.4:
            net.relu6()
        if rng.random() < 0.4:
            convolve(net, rng, 4)
        try:
            agree(net.build(), configuration(size, memory_bytes=1 << 19, banks=1), rng)
        except CompileError as error:
            # Sums of some scales are no sum of two tables.
            assert "rounds some halves" in str(error), (seed, str(error))
            refused += 1
    assert refused < 5


def test_a_constant_for_each_channel_is_a_line():
    rng = np.random.default_rng(0)
    net = GraphBuilder("lines", (5, 4, 6), 0.05, -3)
    for name in ("mul", "add", "sub"):
        values = rng.integers(-128, 128, 6).astype(np.int8)
        getattr(net, name)(net.constant(values, 0.03, 0), scale=0.11, zero_point=4)
    compiled = agree(net.build(), configuration((8, 2)), rng)
    assert [layer.op for layer in compiled.layers] == ["MUL", "ADD", "SUB"]


def test_the_greatest_constant_is_a_line_too():
    """127 with a zero point of -128 is 255, more than two weights of a byte."""
    rng = np.random.default_rng(1)
    net = GraphBuilder("lines", (1, 8, 4), 2.35, 19)
    values = np.array([77, 88, 127, -128], np.int8)
    net.mul(net.constant(values, 0.00014, -128), scale=0.075, zero_point=4)
    compiled = agree(net.build(), configuration((8, 2), products=False), rng)
    assert [layer.op for layer in compiled.layers] == ["MUL"]


def test_squeeze_and_excitation():
    rng = np.random.default_rng(0)
    net = GraphBuilder("squeeze", (6, 5, 8), 0.05, -3)
    convolve(net, rng, 8)
    x = net.last
    net.mean(0.5, 4)
    convolve(net, rng, 4)
    convolve(net, rng, 8)
    net.logistic()
    net.mul(x, scale=0.4, zero_point=-5)
    for size in SIZES:
        agree(net.build(), configuration(size), rng)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_reductions(size):
    refused = 0
    for seed in range(24):
        rng = np.random.default_rng([seed, *size])
        shape = tuple(int(n) for n in rng.integers(1, 7, 3))
        net = GraphBuilder("reductions", shape, 0.5, int(rng.choice(ZERO_POINTS)))
        if rng.random() < 0.5:
            convolve(net, rng, shape[-1])
        if rng.random() < 0.4:
            net.transpose([0, *(rng.permutation(3) + 1)])
        kind = str(rng.choice(["mean", "mean", "sum", "reduce_max", "reduce_min"]))
        for _ in range(int(rng.integers(1, 3))):
            rank = len(net.shape)
            if rank == 0:
                break
            count = int(rng.integers(1, rank + 1))
            axes = tuple(int(n) + 1 for n in rng.permutation(rank)[:count])
            keep = bool(rng.random() < 0.5)
            if kind in ("mean", "sum"):
                point = int(rng.choice(ZERO_POINTS))
                net_scale = 0.5 * float(rng.uniform(0.4, 1.3)) * (3 if kind == "sum" else 1)
                getattr(net, kind)(net_scale, point, axes, keep)
            else:
                getattr(net, kind)(axes, keep)
        try:
            agree(net.build(), configuration(size), rng)
        except CompileError as error:
            known = ("cannot round", "reduces channels", "and not others", "has no layer")
            assert any(each in str(error) for each in known), (seed, str(error))
            refused += 1
    assert refused < 12


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_constants_that_differ_from_pixel_to_pixel_take_few_layers(size):
    """A mean for each frequency, and one for each pixel."""
    rng = np.random.default_rng(8)
    for shape, sizes in (((49, 40, 1), (1, 40, 1)), ((6, 7, 5), (6, 7, 5)), ((9, 4, 3), (9, 4, 1))):
        net = GraphBuilder("means", shape, 0.25, -3)
        net.sub(
            net.constant(rng.integers(-128, 128, sizes).astype(np.int8), 0.25, 5),
            scale=0.5,
            zero_point=9,
        )
        compiled = agree(net.build(), configuration(size, memory_bytes=1 << 19, banks=1), rng)
        assert len(compiled.layers) < 10


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("slopes", [(0, 127), (65, 127), (-60, 64)])
def test_slopes_of_a_prelu(size, slopes):
    """Above one it is no maximum of two lines."""
    rng = np.random.default_rng(sum(slopes) + 200)
    for zero_point, scale in ((-20, 0.05), (3, 0.08), (100, 0.05)):
        net = GraphBuilder("slopes", (5, 4, 6), 0.05, zero_point)
        values = rng.integers(slopes[0], slopes[1] + 1, (1, 1, 6)).astype(np.int8)
        net.prelu(values, 2**-6, scale=scale, zero_point=int(rng.choice([-3, 0, 40])))
        agree(net.build(), configuration(size), rng)


def test_slopes_of_a_prelu_on_either_side():
    net = GraphBuilder("slopes", (5, 4, 2), 0.05, 0)
    net.prelu(np.array([[[-30, 127]]], np.int8), 2**-6, scale=0.05, zero_point=0)
    with pytest.raises(CompileError, match="layer prelu1: has slopes above one and below zero"):
        agree(net.build(), configuration((8, 2)), np.random.default_rng(1))
