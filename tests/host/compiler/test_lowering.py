"""Into which layers operators go: what folds, what is split, how it is arranged."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from host.compiler.channels import fit_sums
from host.compiler.schedule import ways
from model.int8 import reference
from model.int8.builder import GraphBuilder
from model.int8.graph import Activation, Padding
from tests.host.compiler.networks import SIZES, configuration, run
from tests.host.compiler.test_compile import check

ICE40 = configuration((8, 2))
#: The module, which its package's function of the same name hides.
LOWER = sys.modules["host.compiler.lowering.lower"]
RNG = np.random.default_rng(0)


def builder(shape, zero_point=-3):
    return GraphBuilder("net", shape, 0.5, zero_point)


def convolve(net, channels, kernel, **options):
    weights = RNG.integers(-20, 21, (channels, *kernel, net.shape[2])).astype(np.int8)
    net.conv_2d(weights, 2**-8, None, scale=0.5, zero_point=4, **options)


def kinds(net):
    compiled = check(net.build(), ICE40, np.random.default_rng(1))
    return [layer.op for layer in compiled.layers], compiled


def test_padding_folds_into_what_reads_it():
    net = builder((6, 7, 2))
    net.pad(1, 0, 0, 2)
    net.pad(0, 1, 1, 0)
    convolve(net, 4, (3, 3))
    net.pad(1, 1, 1, 1)
    net.max_pool_2d((2, 2))
    net.pad(2, 1, 0, 1)
    net.average_pool_2d((3, 3), (1, 1))
    assert kinds(net)[0] == ["PAD+CONV_2D", "PAD+MAX_POOL_2D", "PAD+AVERAGE_POOL_2D"]


def test_padding_of_a_pointwise_convolution():
    # Its picture must not be seen in longer rows.
    net = builder((6, 8, 2))
    convolve(net, 4, (1, 1))
    net.pad(0, 2, 1, 1)
    convolve(net, 6, (1, 1))
    assert kinds(net)[0] == ["CONV_2D", "PAD+CONV_2D"]


def test_padding_that_nobody_else_can_do_is_a_layer():
    net = builder((6, 7, 2))
    convolve(net, 4, (1, 1))
    net.pad(1, 0, 0, 2)
    net.max_pool_2d((2, 2), padding=Padding.SAME)
    net.pad(1, 0, 3, 2)
    assert kinds(net)[0] == ["CONV_2D", "PAD", "MAX_POOL_2D", "PAD"]


def test_host_writes_the_padding_where_runs_would_begin_within_a_word():
    net = builder((49, 10, 1))
    convolve(net, 16, (10, 4), stride=(2, 2), padding=Padding.SAME)
    _, compiled = kinds(net)
    assert compiled.input.left == 1
    assert compiled.layers[0].bound == "multipliers"


def test_average_over_the_edge_takes_a_layer_for_each_divisor():
    net = builder((9, 9, 2))
    convolve(net, 2, (1, 1))
    net.average_pool_2d((3, 3), (1, 1), padding=Padding.SAME)
    assert kinds(net)[0].count("AVERAGE_POOL_2D") == 9


@pytest.mark.parametrize("shape", [(1, 1, 3), (4, 8, 3), (7, 7, 5), (9, 48, 2), (1, 40, 2)])
@pytest.mark.parametrize("scale", [0.5, 0.31, 0.7])
def test_mean(shape, scale):
    net = builder(shape)
    convolve(net, shape[2], (1, 1))
    net.mean(scale, 7)
    kinds(net)


def test_mean_that_rounds_differently_on_both_sides():
    net = builder((7, 7, 2))
    convolve(net, 2, (1, 1))
    net.mean(0.5, 7)
    assert kinds(net)[0].count("MEAN") == 2


@pytest.mark.parametrize("table", [False, True])
def test_mean_of_so_many_pixels_that_it_takes_several_sums(table):
    net = GraphBuilder("mean", (42, 42, 2), 0.020308755, -128)
    net.mean(0.0033437577, -128)
    if table:
        net.logistic()
    graph = net.build()
    operators, compiled = kinds(net)
    assert sum("MEAN" in operator for operator in operators) > 2
    # Means of all sizes, which pictures of noise do not have.
    for level in range(-128, 128, 15):
        noise = RNG.integers(-9, 10, graph.input.shape[1:])
        picture = np.clip(level + noise, -128, 127).astype(np.int8)
        memory, _ = run(compiled, picture)
        output = compiled.output
        data = memory[output.address :][: output.size].tobytes()
        (wanted,) = reference.predict(graph, picture[np.newaxis])
        assert np.array_equal(compiled.card.output.unpack(data).ravel(), wanted.ravel()), level


def test_channels_that_are_all_alike_share_one_set_of_weights():
    net = builder((8, 5, 64))
    convolve(net, 64, (1, 1))
    net.average_pool_2d((8, 5))
    _, compiled = kinds(net)
    assert compiled.layers[-1].tape_bytes < 8 * (11 + 8 + 40) + 64


def test_last_lines_are_a_layer_of_their_own_where_that_is_faster():
    net = builder((25, 5, 64))
    convolve(net, 64, (1, 1))
    weights = RNG.integers(-20, 21, (1, 3, 3, 64)).astype(np.int8)
    net.depthwise_conv_2d(weights, 2**-8, None, scale=0.5, zero_point=0, padding=Padding.SAME)
    operations, compiled = kinds(net)
    assert operations.count("DEPTHWISE_CONV_2D") == 2
    assert sum(layer.macs for layer in compiled.layers[1:]) == 25 * 5 * 64 * 9


def test_window_larger_than_the_ring():
    net = builder((8, 10, 20))
    convolve(net, 9, (8, 8))
    assert kinds(net)[0] == ["CONV_2D", "CONV_2D"]


def test_neighbouring_columns_take_the_lanes_that_few_channels_leave():
    net = builder((20, 24, 3))
    convolve(net, 2, (3, 3), padding=Padding.SAME)
    _, compiled = kinds(net)
    # Four columns, whose kernels span six.
    assert compiled.layers[0].cycles < 20 * 24 / 4 / 2 * 6 * 3 * 3 * 1.1


def residual(net, channels, table=False):
    """Two convolutions of the same picture, and their sum; returns the first one's tensor."""
    begin = net.last
    convolve(net, channels, (1, 1))
    first = net.last
    net.last = begin
    convolve(net, channels, (1, 1))
    if table:
        net.hard_swish(0.4, 1)
    net.add(first, scale=1.0, zero_point=0)
    return first


def test_addition_happens_behind_the_layer_that_makes_the_last_addend():
    net = builder((5, 4, 3))
    residual(net, 3, table=True)
    residual(net, 3)
    net.relu6()
    operations, compiled = kinds(net)
    assert operations == [
        "CONV_2D",
        "CONV_2D+HARD_SWISH+ADD",
        "CONV_2D",
        "CONV_2D+ADD",
        "RELU6",
    ]
    assert compiled.layers[0].output.address == compiled.layers[1].output.address


def test_addend_that_others_need_is_not_overwritten():
    # The input is the host's, and what a layer reads that comes later must stay.
    net = builder((5, 4, 3))
    convolve(net, 3, (1, 1))
    net.add(0, scale=1.0, zero_point=0)
    first = residual(net, 5)
    net.add(first, scale=1.0, zero_point=0)
    assert kinds(net)[0] == ["CONV_2D", "ADD", "CONV_2D", "CONV_2D", "ADD", "ADD"]


@pytest.mark.parametrize("size", [(8, 2), (16, 8, 8), (3, 3)])
def test_sum_with_itself(size):
    for channels in (3, 8):
        net = builder((5, 4, channels))
        net.add(0, scale=1.0, zero_point=0)
        net.max_pool_2d((2, 2))
        net.add(net.last, scale=2.0, zero_point=0)
        check(net.build(), configuration(size), np.random.default_rng(2))


@pytest.mark.parametrize("count", [1, 5, 64, 300])
def test_sums_fit_any_line(count):
    every = np.arange(-128 * count, 127 * count + 1)
    wanted = np.clip(np.floor(every * 0.371234 / count + 0.45) + 20, -128, 127).astype(np.int8)
    weight, bias, multiplier, shift = fit_sums(wanted, count, 20, 23)
    assert 1 <= weight <= 127 and 1 << 30 <= multiplier < 1 << 31 and 0 <= shift <= 31


def test_constant_needs_no_sum():
    assert fit_sums(np.full(256, 9, np.int8), 1, 4, 23) == (0, 10, 1 << 30, 0)


def test_refuses_what_no_line_gives():
    steps = np.repeat(np.array([-100, -99, 60, 61], np.int8), 64)
    assert fit_sums(steps, 1, 0, 23) is None


@pytest.mark.parametrize("size", SIZES)
def test_rearranging_changes_no_byte(size, monkeypatch):
    """Each layer in one of its ways, whichever is fastest."""
    rng = np.random.default_rng(0)

    def any_way(layer, engine):
        found = ways(layer, engine)
        return found[rng.integers(len(found))][1]

    monkeypatch.setattr(LOWER, "schedule", any_way)
    for seed in range(16):
        rng = np.random.default_rng([seed, *size])
        net = builder((int(rng.integers(3, 14)), int(rng.integers(3, 14)), 6))
        convolve(net, int(rng.integers(1, 9)), (3, 3), padding=Padding.SAME, stride=(2, 1))
        for _ in range(2):
            shape, dilation = [int(n) for n in rng.integers(1, 4, 2)], (1, 1)
            stride = [int(n) for n in rng.integers(1, 4, 2)]
            if rng.random() < 0.3:
                stride, dilation = [1, 1], tuple(int(n) for n in rng.integers(1, 4, 2))
            weights = RNG.integers(-20, 21, (1, *shape, net.shape[2])).astype(np.int8)
            net.depthwise_conv_2d(
                weights,
                2**-8,
                None,
                scale=0.5,
                zero_point=0,
                stride=tuple(stride),
                padding=Padding.SAME,
                dilation=dilation,
            )
        net.max_pool_2d((2, 2), padding=Padding.SAME)
        net.average_pool_2d((2, 2), (1, 2), padding=Padding.SAME)
        check(net.build(), configuration(size), rng)


def pooled(net, **options):
    convolve(net, 5, (3, 3), **{"padding": Padding.SAME, **options})
    net.max_pool_2d((2, 2))


def test_pool_happens_in_the_convolution_before_it():
    net = builder((9, 12, 3))
    pooled(net)
    pooled(net, padding=Padding.VALID, activation=Activation.RELU6)
    convolve(net, 4, (1, 1))
    assert kinds(net)[0] == ["CONV_2D+MAX_POOL_2D", "CONV_2D+MAX_POOL_2D", "CONV_2D"]


def test_an_engine_may_have_no_pooling():
    net = builder((8, 8, 3))
    pooled(net)
    convolve(net, 4, (1, 1))
    engine = configuration((8, 2), pooling=False)
    compiled = check(net.build(), engine, np.random.default_rng(1))
    assert [layer.op for layer in compiled.layers] == ["CONV_2D", "MAX_POOL_2D", "CONV_2D"]


@pytest.mark.parametrize("size", SIZES)
def test_pooling_changes_no_byte(size, monkeypatch):
    """Odd sizes, strides, dilation, extreme zero points; also where it is not the fastest way."""
    engine = configuration(size)
    monkeypatch.setattr(LOWER, "cycles", lambda layers, _: -sum(layer.pooled for layer in layers))
    found = 0
    for seed in range(12):
        rng = np.random.default_rng([seed, *size])
        shape = (*(int(n) for n in rng.integers(5, 15, 2)), int(rng.integers(1, 6)))
        net = builder(shape, int(rng.choice([-128, -1, 0, 127])))
        for _ in range(2):
            if min(net.shape[:2]) < 5:
                break
            kernel = tuple(int(n) for n in rng.integers(1, 4, 2))
            options = {"stride": tuple(int(n) for n in rng.integers(1, 3, 2))}
            if rng.random() < 0.3:
                options = {"dilation": (2, 1)}
            if rng.random() < 0.2:
                net.pad(1, 0, 2, 1)
            convolve(net, int(rng.integers(1, 20)), kernel, padding=Padding.SAME, **options)
            net.max_pool_2d((2, 2))
        convolve(net, 4, (1, 1))
        compiled = check(net.build(), engine, rng)
        found += sum("CONV_2D+MAX_POOL_2D" in layer.op for layer in compiled.layers)
    assert found >= 12 or engine.pixels == 1


@pytest.mark.parametrize(
    "case", ["overlap", "over the edge", "table", "clamp", "read twice", "last"]
)
def test_pool_is_a_layer_of_its_own(case):
    net = builder((7, 8, 3))
    convolve(net, 5, (3, 3))
    first = net.last
    if case == "table":
        net.hard_swish(0.4, 1)
    if case == "overlap":
        net.max_pool_2d((2, 2), (1, 1))
    elif case == "over the edge":
        net.max_pool_2d((2, 2), padding=Padding.SAME)
    elif case == "clamp":
        net.max_pool_2d((2, 2), activation=Activation.RELU6)
    else:
        net.max_pool_2d((2, 2))
    if case == "read twice":
        net.max_pool_2d((2, 2))
        net.last = first
        net.max_pool_2d((5, 6))
    if case != "last":
        convolve(net, 4, (1, 1))
    assert not any("CONV_2D+MAX_POOL_2D" in name for name in kinds(net)[0])


def test_the_engine_finds_the_class_where_one_layer_computes_one_pixel():
    def finds(net):
        return check(net.build(), ICE40, np.random.default_rng(3)).card.finds_best

    net = builder((4, 4, 2))
    convolve(net, 20, (4, 4))
    assert finds(net)
    # Several pixels: results are written tile by tile.
    net = builder((9, 9, 3))
    convolve(net, 12, (1, 1))
    assert not finds(net)
    # A sum in the place of what one layer made is the other's alone.
    net = builder((1, 1, 3))
    residual(net, 5)
    assert finds(net)
    # Every second channel by a layer of its own.
    net = builder((3, 3, 2))
    weights = RNG.integers(-20, 21, (1, 3, 3, 4)).astype(np.int8)
    net.depthwise_conv_2d(weights, 2**-8, None, scale=0.5, zero_point=0)
    assert not finds(net)


@pytest.mark.parametrize("size", SIZES)
def test_a_pad_pads_with_what_it_makes(size):
    """Zero points that differ at each step, on the input and behind a layer, before each reader."""
    for seed in range(16):
        rng = np.random.default_rng([seed, *size, 5])
        net = builder((int(rng.integers(3, 8)), int(rng.integers(3, 8)), 3), zero_point(rng))
        if rng.random() < 0.5:
            convolve(net, 3, (1, 1))
        changed = []
        for _ in range(int(rng.integers(1, 3))):
            net.pad(*(int(n) for n in rng.integers(0, 3, 4)))
            changed.append(net.last)
        reader = seed % 5
        if reader == 0:
            convolve(net, 4, (3, 3), padding=Padding.SAME, stride=(1, int(rng.integers(1, 3))))
        elif reader == 1:
            weights = RNG.integers(-20, 21, (1, 3, 3, 3)).astype(np.int8)
            net.depthwise_conv_2d(weights, 2**-8, None, scale=0.5, zero_point=0)
        elif reader == 2:
            net.max_pool_2d((2, 2))
        elif reader == 3:
            net.average_pool_2d((2, 2))
        graph = net.build()
        tensors = list(graph.tensors)
        same = zero_point(rng)
        for tensor in changed:
            point = same if rng.random() < 0.5 else zero_point(rng)
            quantization = replace(tensors[tensor].quantization, zero_point=np.array([point]))
            tensors[tensor] = replace(tensors[tensor], quantization=quantization)
        check(replace(graph, tensors=tuple(tensors)), configuration(size), rng)


def zero_point(rng):
    return int(rng.choice([-128, -127, -17, 0, 3, 126, 127]))
