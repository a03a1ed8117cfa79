"""Convolutions in another form than the engine's: single channels, groups, transposed ones."""

from __future__ import annotations

import numpy as np
import pytest

from model.int8.builder import GraphBuilder
from model.int8.graph import Activation, Padding
from tests.host.compiler.networks import configuration
from tests.host.compiler.test_compile import check

ENGINES = [configuration((8, 2)), configuration((16, 8, 8))]
IDS = ["8x2", "16x8x8"]


class Net(GraphBuilder):
    """Weights, biases, scales and zero points of its own choice."""

    def __init__(self, shape, seed):
        self.rng = np.random.default_rng(seed)
        super().__init__("net", shape, 0.25, self.zero())

    def zero(self):
        return int(self.rng.choice((-128, 127, -3, 40)))

    def numbers(self, channels, *shape):
        """Weights, their scales, and biases for so many output channels."""
        weights = self.rng.integers(-127, 128, shape).astype(np.int8)
        scales = self.rng.uniform(2**-10, 2**-8, channels).astype(np.float32)
        return weights, scales, self.rng.integers(-3000, 3000, channels)

    def output(self):
        return {"scale": 0.5, "zero_point": self.zero()}


def ran(net, engine):
    graph = net.build()
    compiled = check(graph, engine, np.random.default_rng(5))
    assert sum(layer.macs for layer in compiled.layers) <= graph.total_macs
    return compiled


@pytest.mark.parametrize("engine", ENGINES, ids=IDS)
@pytest.mark.parametrize("multiplier", [1, 2, 8, 11])
def test_depthwise_of_one_channel(engine, multiplier):
    net = Net((9, 8, 1), multiplier)
    weights = net.numbers(multiplier, 1, 3, 2, multiplier)
    net.depthwise_conv_2d(*weights, stride=(2, 1), padding=Padding.SAME, **net.output())
    net.average_pool_2d((2, 2))
    compiled = ran(net, engine)
    assert [layer.op for layer in compiled.layers][0] == "CONV_2D"


@pytest.mark.parametrize("engine", ENGINES, ids=IDS)
@pytest.mark.parametrize(("channels", "own", "outputs"), [(6, 2, 9), (6, 1, 6), (5, 1, 15)])
def test_groups(engine, channels, own, outputs):
    net = Net((6, 5, channels), outputs)
    weights = net.numbers(outputs, outputs, 3, 3, own)
    net.conv_2d(*weights, padding=Padding.SAME, activation=Activation.RELU, **net.output())
    ran(net, engine)


@pytest.mark.parametrize("engine", ENGINES, ids=IDS)
@pytest.mark.parametrize("padding", list(Padding))
@pytest.mark.parametrize(
    ("kernel", "stride"),
    [((2, 2), (2, 2)), ((3, 3), (2, 2)), ((4, 3), (2, 1)), ((1, 1), (1, 1)), ((3, 5), (1, 1))]
    + [((2, 2), (3, 3)), ((5, 1), (3, 2))],
)
def test_transposed(engine, padding, kernel, stride):
    net = Net((4, 3, 5), sum(kernel))
    weights = net.numbers(6, 6, *kernel, 5)
    net.transpose_conv(*weights, stride=stride, padding=padding, **net.output())
    net.max_pool_2d((2, 2), (1, 1))
    ran(net, engine)


def test_transposed_to_a_size_of_its_own():
    """Less, or more, than the kernels reach: beyond them there is the bias."""
    for size in ((5, 9), (9, 6), (10, 8)):
        net = Net((4, 3, 2), sum(size))
        weights = net.numbers(3, 3, 3, 3, 2)
        options = {"padding": Padding.VALID, "size": size, **net.output()}
        net.transpose_conv(*weights, stride=(2, 2), **options)
        ran(net, ENGINES[0])
