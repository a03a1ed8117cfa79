"""Layers beyond a field of the tape: they run in parts."""

from __future__ import annotations

import numpy as np
import pytest

from host.compiler import CompileError, compile
from model.int8.builder import GraphBuilder
from model.int8.graph import Padding
from tests.host.compiler.networks import configuration
from tests.host.compiler.test_compile import check

ENGINES = [configuration(size, memory_bytes=1 << 19) for size in ((2, 2), (16, 8, 8))]


def builder(shape):
    return GraphBuilder("parts", shape, 0.25, -3)


def weights(*shape):
    return np.random.default_rng(7).integers(-9, 10, shape).astype(np.int8)


def names(graph, engine):
    compiled = check(graph, engine, np.random.default_rng(1))
    return [layer.name for layer in compiled.layers]


@pytest.mark.parametrize("engine", ENGINES, ids=["2x2", "16x8x8"])
@pytest.mark.parametrize("kind", ["average", "maximum", "depthwise"])
def test_channels_of_more_tiles_than_can_be_counted(engine, kind):
    channels = 258 * engine.channel_group
    net = builder((3, 3, channels))
    if kind == "average":
        net.average_pool_2d((3, 3))
    elif kind == "maximum":
        net.max_pool_2d((2, 2), (1, 1))
    else:
        bias = np.arange(channels) - 99
        net.depthwise_conv_2d(weights(1, 3, 3, channels), 2**-6, bias, scale=0.5, zero_point=9)
    found = names(net.build(), engine)
    # Layers that treat all channels alike may count them inside of a tile instead.
    assert len(found) == (2 if kind == "depthwise" else 1)


def test_output_channels_of_more_tiles_than_can_be_counted():
    engine = ENGINES[0]
    net = builder((2, 2, 3))
    bias = np.arange(600) - 300
    net.conv_2d(weights(600, 1, 1, 3), 2**-6, bias, scale=0.5, zero_point=9)
    assert len(names(net.build(), engine)) == 2


@pytest.mark.parametrize("engine", ENGINES, ids=["2x2", "16x8x8"])
@pytest.mark.parametrize(
    "kind", ["same", "dilated", "strided", "pooled", "depthwise", "maximum", "pad"]
)
def test_pictures_of_more_rows_than_can_be_counted(engine, kind):
    net = builder((1100, 3, 2))
    options = {"scale": 0.5, "zero_point": 9, "padding": Padding.SAME}
    if kind == "depthwise":
        net.depthwise_conv_2d(weights(1, 5, 3, 2), 2**-6, None, **options)
    elif kind == "maximum":
        net.max_pool_2d((3, 2), (1, 1), padding=Padding.SAME)
    elif kind == "pooled":
        net.conv_2d(weights(4, 3, 3, 2), 2**-6, None, **options)
        net.max_pool_2d((2, 2))
        net.average_pool_2d((550, 1))
    else:
        if kind == "pad":
            net.pad(5, 3, 0, 1)
        options |= {"dilated": {"dilation": (4, 1)}, "strided": {"stride": (3, 1)}}.get(kind, {})
        net.conv_2d(weights(4, 5, 3, 2), 2**-6, None, **options)
    assert len(names(net.build(), engine)) > 1


def test_what_no_part_can_help_is_still_refused():
    net = builder((4, 20000, 2))
    net.conv_2d(weights(4, 1, 1, 2), 2**-6, None, scale=0.5, zero_point=9)
    with pytest.raises(CompileError, match="its input row, in bytes, is 40000"):
        compile(net.build(), ENGINES[0])


@pytest.mark.parametrize("engine", ENGINES, ids=["2x2", "16x8x8"])
@pytest.mark.parametrize("kind", ["average", "maximum", "mean"])
def test_pools_of_so_many_pixels_that_no_window_has_as_many_rows(engine, kind):
    """Rows of a window that is cut anew overlap: 101 is a prime."""
    rng = np.random.default_rng(2)
    for shape in ((101, 1, 8), (67, 3, 5), (1, 250, 16), (1021, 1, 3)):
        net = builder(shape)
        net.conv_2d(weights(shape[2], 1, 1, shape[2]), 2**-4, None, scale=0.25, zero_point=-7)
        if kind == "mean":
            net.mean(0.04, 3)
        elif kind == "average":
            net.average_pool_2d(shape[:2])
        else:
            net.max_pool_2d(shape[:2])
        check(net.build(), engine, rng)
