"""What the compiler refuses, and how it says so: layer, limit, amount."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from host.compiler import CompileError, DoesNotFitError, compile
from model.errors import EyespotError
from model.int8.builder import GraphBuilder
from model.int8.graph import Padding
from tests.host.compiler.networks import configuration

ICE40 = configuration((8, 2))


def convolution(shape, weights, *, scale=1.0, weight_scale=2**-8, bias=None, **options):
    builder = GraphBuilder("net", shape, 1.0, 0)
    weights = np.asarray(weights, np.int8)
    builder.conv_2d(weights, weight_scale, bias, scale=scale, zero_point=0, **options)
    return builder


def dense(inputs, weights, *, scale=2.0**16, zero_point=0, bias=None):
    builder = GraphBuilder("net", (inputs,), 1.0, 0)
    builder.fully_connected(
        np.asarray(weights, np.int8), 1.0, bias, scale=scale, zero_point=zero_point
    )
    return builder


def refuses(builder, text, configuration=ICE40):
    with pytest.raises(CompileError, match=re.escape(text)) as caught:
        compile(builder.build(), configuration)
    assert isinstance(caught.value, EyespotError)
    assert "\n" not in str(caught.value)


def test_scale_of_one_or_more():
    refuses(
        convolution((3, 3, 1), np.full((2, 1, 1, 1), 100), weight_scale=[0.5, 1.0]),
        "layer conv1, channel 1: its scale is 1 or more, the engine's limit is below 1",
    )


def test_sum_that_overflows_the_accumulator():
    weights = np.full((1, 1024), 127)
    refuses(
        dense(1024, weights),
        "layer dense1, channel 0: its accumulator can need 25 bits, the engine's limit is 23, and "
        "too many of its outputs are not clamped",
    )
    assert compile(dense(1024, weights).build(), replace(ICE40, accumulator_bits=26))


def test_bias_that_overflows_the_accumulator():
    refuses(
        dense(16, np.full((2, 16), 127), bias=np.array([0, 1 << 23], np.int32)),
        "layer dense1, channel 1: its accumulator can need 25 bits, the engine's limit is 23",
    )


def test_bias_that_overflows_its_field():
    refuses(
        dense(
            16,
            np.full((1, 16), 127),
            bias=np.array([1 << 24], np.int32),
            scale=2.0**17,
            zero_point=-128,
        ),
        "layer dense1, channel 0: its bias, zero point included, needs 26 bits, "
        "the engine's limit is 24",
        configuration((8, 2), accumulator_bits=32),
    )


def test_window_that_does_not_fit_the_ring():
    weights = np.ones((5, 8, 8, 16))
    refuses(
        convolution((60, 20, 16), weights),
        "layer conv1: its window has 1024 taps, the weight ring's limit is 1023",
    )
    # A few windows become layers of their own, whose weights need not stay in the ring.
    assert len(compile(convolution((8, 8, 16), weights).build(), ICE40).layers) == 1
    assert len(compile(convolution((9, 10, 16), weights).build(), ICE40).layers) == 4


def test_row_that_is_too_long():
    refuses(
        convolution((1, 2100, 4), np.ones((1, 1, 3, 4))),
        "layer conv1: its input row, in bytes, is 8400, the engine's limit is 8191",
    )


def test_window_that_takes_too_many_taps():
    refuses(
        dense(9000, np.zeros((1, 9000))),
        "layer dense1: its window, in taps, is 9000, the engine's limit is 8192",
    )


def test_pool_kernel_that_is_too_wide():
    builder = GraphBuilder("net", (40, 40, 2))
    builder.max_pool_2d((33, 33))
    refuses(builder, "layer max_pool1: its window width is 33, the engine's limit is 32")


def test_too_little_memory():
    builder = convolution((32, 32, 4), np.ones((16, 3, 3, 4)), padding=Padding.SAME)
    small = configuration((8, 2), memory_bytes=16 * 1024)
    with pytest.raises(DoesNotFitError, match="bytes of memory .* the board has 16384") as caught:
        compile(builder.build(), small)
    assert caught.value.available == 16384
    assert caught.value.needed == len(compile(builder.build(), ICE40).image) + 32 * 32 * 20


def test_more_layers_than_the_engine_counts():
    for count in (256, 257):
        builder = GraphBuilder("net", (1, 1, 1))
        for _ in range(count):
            builder.fully_connected(np.ones((1, 1), np.int8), 0.5, None, scale=0.5, zero_point=0)
        if count == 256:
            assert len(compile(builder.build(), ICE40).layers) == count
    refuses(builder, "the network takes 257 layers of the engine, whose limit is 256; 1 of them ")


def test_softmax_in_the_middle():
    builder = dense(4, np.ones((4, 4)))
    builder.softmax()
    builder.fully_connected(np.ones((4, 4), np.int8), 1.0, None, scale=1000.0, zero_point=0)
    refuses(builder, "layer softmax1: a SOFTMAX is computed on the host, so it must come last")


def test_what_can_be_run_instead():
    builder = GraphBuilder("net", (4, 4, 2), 0.25, 0)
    builder.resize_bilinear(8, 8)
    builder.conv_2d(np.ones((1, 1, 1, 2), np.int8), 0.25, None, scale=0.5, zero_point=0)
    refuses(
        builder,
        "layer resize_bilinear1: the engine has no RESIZE_BILINEAR; a RESIZE_NEAREST_NEIGHBOR or "
        "TRANSPOSE_CONV in its place can be run",
    )


def test_nothing_to_do():
    builder = GraphBuilder("net", (4,))
    builder.softmax()
    refuses(builder, "net: has no layer for the engine to run")


def test_batch():
    graph = convolution((4, 4, 2), np.ones((3, 1, 1, 2))).build()
    activations = {*graph.inputs, *graph.outputs}
    tensors = tuple(
        replace(tensor, shape=(2, *tensor.shape[1:])) if index in activations else tensor
        for index, tensor in enumerate(graph.tensors)
    )
    with pytest.raises(CompileError, match="has shape 2x4x4x2, the engine takes one picture"):
        compile(replace(graph, tensors=tensors), ICE40)


def test_float_input():
    graph = dense(4, np.ones((4, 4))).build()
    tensors = tuple(
        replace(tensor, dtype="float32") if index in graph.inputs else tensor
        for index, tensor in enumerate(graph.tensors)
    )
    with pytest.raises(CompileError, match="net: its input input is float32, with no QUANTIZE"):
        compile(replace(graph, tensors=tensors), ICE40)


def test_tall_window():
    refuses(
        convolution((70, 4, 1), np.ones((1, 65, 1, 1))),
        "layer conv1: its window height is 65, the engine's limit is 64",
    )


def test_a_softmax_that_is_an_output_and_is_read_too():
    builder = dense(4, np.ones((4, 4)))
    softmax = builder.softmax()
    builder.relu6()
    graph = builder.build(outputs=(builder.last, softmax))
    with pytest.raises(CompileError, match="layer softmax1: a SOFTMAX is computed on the host"):
        compile(graph, ICE40)
    alone = builder.build(outputs=(softmax,))
    assert [layer.op for layer in compile(alone, ICE40).layers] == ["FULLY_CONNECTED"]
