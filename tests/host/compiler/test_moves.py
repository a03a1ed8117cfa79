"""Operators that move bytes, alone and in chains, before and behind layers that compute."""

from __future__ import annotations

import numpy as np
import pytest

from host.compiler import CompileError, compile
from host.host_steps import finish
from model.int8 import reference
from model.int8.builder import GraphBuilder
from model.int8.graph import Padding
from tests.host.compiler.networks import configuration, run_all

SIZES = ((8, 2), (16, 8, 8), (6, 3), (4, 4, 4))


def agree(graph, engine, rng):
    """Compile, run, and compare every output; returns what was compiled."""
    compiled = compile(graph, engine)
    inputs = {
        graph.tensors[index].name: rng.integers(
            -128, 128, graph.tensors[index].example_shape
        ).astype(np.int8)
        for index in graph.inputs
    }
    expected = reference.run(graph, {name: values[np.newaxis] for name, values in inputs.items()})
    memory = run_all(compiled, tuple(inputs.values()))
    check_layers(graph, compiled, inputs)
    for index, card in zip(graph.outputs, compiled.card.outputs):
        layout = card.layout
        actual = finish(card, card.unpack(memory[layout.address :][: layout.size].tobytes()))
        wanted = expected[index][0]
        assert np.array_equal(actual.reshape(wanted.shape), wanted), graph.tensors[index].name
    return compiled


def check_layers(graph, compiled, inputs):
    """Compare what lies in memory after each layer, of a network of few."""
    if len(compiled.layers) > 6:
        return
    examples = {name: values[np.newaxis] for name, values in inputs.items()}
    expected = reference.run(graph, examples, keep="all")
    for count, layer in enumerate(compiled.layers, start=1):
        if layer.tensor is not None:
            memory = run_all(compiled, tuple(inputs.values()), count)
            data = memory[layer.output.address :][: layer.output.size].tobytes()
            wanted = expected[layer.tensor][0]
            assert np.array_equal(layer.unpack(data).reshape(wanted.shape), wanted), layer.name


class Chain:
    """Random moves of a picture of at most so many bytes."""

    def __init__(self, rng, builder):
        self.rng, self.net = rng, builder

    @property
    def shape(self):
        return (1, *self.net.shape)

    def axis(self):
        return int(self.rng.integers(1, len(self.shape)))

    def slice(self):
        axis, size = self.axis(), list(self.shape)
        begin = [0] * len(size)
        begin[axis] = int(self.rng.integers(0, size[axis]))
        size[axis] = int(self.rng.integers(1, size[axis] - begin[axis] + 1))
        self.net.slice(begin, size)

    def strided_slice(self):
        axis, end = self.axis(), list(self.shape)
        strides = [1] * len(end)
        strides[axis] = int(self.rng.integers(1, 3))
        begin = [0] * len(end)
        begin[axis] = int(self.rng.integers(0, end[axis]))
        self.net.strided_slice(begin, end, strides)

    def transpose(self):
        self.net.transpose([0, *(self.rng.permutation(len(self.shape) - 1) + 1)])

    def reshape(self):
        size = int(np.prod(self.shape))
        rows = int(self.rng.choice([n for n in range(1, size + 1) if size % n == 0]))
        rest = size // rows
        columns = int(self.rng.choice([n for n in range(1, rest + 1) if rest % n == 0]))
        self.net.reshape((rows, columns, rest // columns))

    def pad(self):
        if len(self.shape) == 4:
            self.net.pad(*(int(n) for n in self.rng.integers(0, 2, 4)))

    def pad_channels(self):
        widths = [[0, 0]] * (len(self.shape) - 1)
        widths[self.axis() - 1] = [int(n) for n in self.rng.integers(0, 4, 2)]
        self.net.pad_by(widths)

    def split(self):
        axis = self.axis()
        size = self.shape[axis]
        first = int(self.rng.integers(1, size)) if size > 1 else 0
        if first:
            parts = self.net.split_v(axis, [first, size - first])
            self.net.last = int(self.rng.choice(parts))

    def swap(self):
        """The parts of a split in another order."""
        axis = self.axis()
        size = self.shape[axis]
        first = int(self.rng.integers(1, size)) if size > 1 else 0
        if first:
            one, other = self.net.split_v(axis, [first, size - first])
            self.net.last = other
            self.net.concatenation([one, *([other] if self.rng.random() < 0.2 else [])], axis)

    def resize(self):
        if len(self.shape) == 4 and np.prod(self.shape) < 200:
            height, width = self.shape[1:3]
            self.net.resize_nearest_neighbor(
                height * int(self.rng.integers(1, 4)), width * int(self.rng.integers(1, 4))
            )

    def blocks(self):
        _, height, width, channels = (*self.shape, 1, 1, 1)[:4]
        if len(self.shape) == 4 and height % 2 == width % 2 == 0:
            self.net.space_to_depth(2)
        elif len(self.shape) == 4 and channels % 4 == 0:
            self.net.depth_to_space(2)


MOVES = tuple(name for name in vars(Chain) if name not in ("axis", "shape") and name[0] != "_")


def convolve(net, rng, channels, kernel=(1, 1), **options):
    weights = rng.integers(-20, 21, (channels, *kernel, net.shape[-1])).astype(np.int8)
    net.conv_2d(weights, 2**-8, None, scale=0.5, zero_point=4, **options)


@pytest.mark.parametrize("size", SIZES)
def test_random_moves(size):
    skipped = 0
    for seed in range(40):
        rng = np.random.default_rng([seed, *size])
        shape = tuple(int(n) for n in rng.integers(1, 7, 3))
        net = GraphBuilder("moves", shape, 0.5, int(rng.choice([-128, -3, 127])))
        chain = Chain(rng, net)
        if rng.random() < 0.5:
            convolve(net, rng, int(rng.integers(1, 12)))
        for _ in range(int(rng.integers(1, 4))):
            name = str(rng.choice(MOVES))
            if int(np.prod(chain.shape)) < 400 or name in ("slice", "split"):
                getattr(chain, name)()
        if rng.random() < 0.3:
            net.relu6()
        behind = rng.random()
        if behind < 0.3 and len(chain.shape) == 4:
            convolve(net, rng, 5, (2, 2), padding=Padding.SAME)
        elif behind < 0.6:
            net.reshape((int(np.prod(chain.shape)),))
            weights = rng.integers(-20, 21, (5, net.shape[0])).astype(np.int8)
            net.fully_connected(weights, 2**-8, None, scale=0.5, zero_point=4)
        elif behind < 0.8:
            net.logistic()
        try:
            # Intricate moves take many layers.
            agree(net.build(), configuration(size, memory_bytes=1 << 19, banks=1), rng)
        except CompileError as error:
            # They leave every byte where it is.
            assert "has no layer" in str(error)
            skipped += 1
    assert skipped < 10


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("side", (2, 3))
def test_a_border_beside_channels_that_lie_far_apart(size, side):
    """A pixel of SPACE_TO_DEPTH has bytes of several rows; none may show beside the picture."""
    rng = np.random.default_rng(0)
    net = GraphBuilder("border", (2 * side, 3 * side, 4), 0.5, -3)
    net.space_to_depth(side)
    net.pad(1, 0, 3, 3)
    agree(net.build(), configuration(size), rng)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("axes", [(1,), (2,), (3,), (1, 2), (1, 2, 3)])
def test_reverse(size, axes):
    rng = np.random.default_rng(0)
    net = GraphBuilder("reversed", (3, 4, 5), 0.5, -3)
    convolve(net, rng, 8)
    net.reverse(axes)
    convolve(net, rng, 3, (2, 2), padding=Padding.SAME)
    agree(net.build(), configuration(size), rng)


def operations(compiled):
    return [layer.op for layer in compiled.layers]


def test_parts_are_written_where_they_belong():
    rng = np.random.default_rng(0)
    net = GraphBuilder("joined", (6, 5, 3), 0.5, 0)
    parts = []
    for channels in (8, 16, 4):
        net.last = 0
        convolve(net, rng, channels)
        parts.append(net.last)
    net.last = parts[0]
    net.concatenation(parts[1:])
    convolve(net, rng, 4)
    for size in SIZES[:2]:
        compiled = agree(net.build(), configuration(size), rng)
        assert operations(compiled) == ["CONV_2D"] * 4


def test_order_of_bytes_before_a_dense_layer_is_its_weights_affair():
    rng = np.random.default_rng(0)
    net = GraphBuilder("flat", (4, 5, 3), 0.5, 0)
    convolve(net, rng, 8)
    net.transpose((0, 3, 1, 2))
    net.reshape((160,))
    net.fully_connected(rng.integers(-20, 21, (4, 160)), 2**-8, None, scale=0.5, zero_point=1)
    compiled = agree(net.build(), configuration((8, 2)), rng)
    assert operations(compiled) == ["CONV_2D", "RESHAPE+FULLY_CONNECTED"]


def test_cut_and_padded_pictures_are_read_as_they_lie():
    rng = np.random.default_rng(0)
    net = GraphBuilder("tiles", (12, 10, 2), 0.5, 3)
    net.pad(1, 1, 1, 1)
    whole = net.last
    parts = []
    for begin in (0, 6):
        net.last = whole
        net.slice((0, begin, 0, 0), (1, 8, 12, 2))
        convolve(net, rng, 4, (3, 3))
        parts.append(net.last)
    net.last = parts[0]
    net.concatenation(parts[1:], axis=1)
    compiled = agree(net.build(), configuration((8, 2)), rng)
    assert operations(compiled) == ["SLICE+CONV_2D"] * 2


def test_functions_of_one_byte_are_one_table():
    rng = np.random.default_rng(0)
    net = GraphBuilder("functions", (4, 4, 3), 0.05, 0)
    convolve(net, rng, 4)
    x = net.last
    net.logistic()
    net.mul(x, scale=0.4, zero_point=-3)
    y = net.last
    net.minimum(net.constant(np.array(7, np.int8), 0.4, -3))
    negative = net.last
    net.last = y
    net.maximum(net.constant(np.array(-3, np.int8), 0.4, -3))
    net.sub(negative, scale=0.5, zero_point=1)
    convolve(net, rng, 5)
    for size in SIZES:
        compiled = agree(net.build(), configuration(size), rng)
        assert len(compiled.layers) == 2


def test_several_inputs_and_outputs():
    rng = np.random.default_rng(0)
    net = GraphBuilder("several", (5, 4, 3), 0.5, 0)
    convolve(net, rng, 3)
    first = net.last
    net.input((5, 4, 3), 0.5, 7)
    second = net.last
    net.logistic()
    third = net.last
    net.last = first
    net.concatenation([second, third])
    convolve(net, rng, 4)
    graph = net.build(outputs=(net.last, first, third))
    for size in SIZES:
        compiled = agree(graph, configuration(size), rng)
        assert [card.name for card in compiled.card.inputs] == ["input", "input2"]


def test_a_sum_behind_channels_that_are_padded():
    for size in SIZES:
        rng = np.random.default_rng(0)
        net = GraphBuilder("padded", (5, 4, 6), 0.5, 3)
        convolve(net, rng, 12)
        other = net.last
        net.last = 0
        convolve(net, rng, 7)
        net.pad_by([[0, 0], [0, 0], [2, 3]])
        net.add(other, scale=0.7, zero_point=-4)
        convolve(net, rng, 4)
        agree(net.build(), configuration(size), rng)


def test_a_border_of_another_value_than_the_padding_of_its_reader():
    for size in SIZES:
        rng = np.random.default_rng(0)
        net = GraphBuilder("border", (5, 4, 2), 0.5, 3)
        net.pad_by([[1, 0], [0, 2], [0, 0]], value=77)
        convolve(net, rng, 4, (3, 3), padding=Padding.SAME)
        agree(net.build(), configuration(size), rng)


def test_channels_are_padded_before_the_layer_that_adds_to_them():
    """As in detectors whose blocks widen: what is padded is the shortcut."""
    for size in SIZES:
        rng = np.random.default_rng(0)
        net = GraphBuilder("wider", (6, 5, 3), 0.5, 3)
        convolve(net, rng, 6)
        narrow = net.last
        weights = rng.integers(-20, 21, (1, 3, 3, 6)).astype(np.int8)
        net.depthwise_conv_2d(weights, 2**-8, None, scale=0.5, zero_point=1, padding=Padding.SAME)
        convolve(net, rng, 12)
        wide = net.last
        net.last = narrow
        net.pad_by([[0, 0], [0, 0], [0, 6]])
        net.add(wide, scale=0.7, zero_point=-4)
        net.relu6()
        compiled = agree(net.build(), configuration(size), rng)
        assert "CONV_2D+ADD" in operations(compiled)


def test_pixels_of_another_shape_are_put_apart_for_layers_that_read_groups():
    for size in SIZES:
        rng = np.random.default_rng(0)
        net = GraphBuilder("groups", (4, 4, 3), 0.5, 3)
        convolve(net, rng, 12)
        net.reshape((4, 16, 3))
        weights = rng.integers(-20, 21, (1, 3, 3, 3)).astype(np.int8)
        net.depthwise_conv_2d(weights, 2**-8, None, scale=0.5, zero_point=1)
        agree(net.build(), configuration(size), rng)
