"""What is rewritten as a file is read: the answers stay TFLM's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.errors import ModelError
from model.int8 import reference, tflite, tflite_writer
from model.int8.builder import GraphBuilder
from model.int8.graph import Graph, OperatorKind, Padding
from model.int8.operators.joining import PackOptions
from model.int8.operators.shape import ReshapeOptions
from model.int8.operators.slicing import StridedSliceOptions
from model.int8.simplify import folded, one_picture, with_known_shapes
from tests.model.int8 import oracle, random_graphs


def _flattened(length: int = -1) -> Graph:
    """A RESHAPE whose shape SHAPE, STRIDED_SLICE and PACK work out, as Keras writes it."""
    builder = GraphBuilder("flatten", (3, 2, 4), 0.1, 5)
    builder.relu6()
    picture = builder.last

    def numbers(role: str, *values: int):
        return role, np.array(values, np.int32), None

    (shape,) = builder._append(OperatorKind.SHAPE, [picture], [((4,), None)], dtype="int32")
    (batch,) = builder._append(
        OperatorKind.STRIDED_SLICE,
        [shape, numbers("begin", 0), numbers("end", 1), numbers("strides", 1)],
        [((), None)],
        StridedSliceOptions(shrink_axis_mask=1),
        "int32",
    )
    (wanted,) = builder._append(
        OperatorKind.PACK,
        [batch, ("length", np.array(length, np.int32), None)],
        [((2,), None)],
        PackOptions(2, 0),
        "int32",
    )
    builder._append(
        OperatorKind.RESHAPE, [picture, wanted], [((1, 24), (0.1, 5))], ReshapeOptions()
    )
    builder.fully_connected(np.ones((3, 24)), 0.1, None, scale=1.0, zero_point=2)
    return builder.build()


@pytest.mark.parametrize("length", [-1, 24])
def test_shapes_that_are_worked_out_vanish(length):
    graph = _flattened(length)
    read = tflite.decode(tflite.encode(graph), "flatten")
    assert [operator.kind.value for operator in read.operators] == [
        *("RELU6", "RESHAPE", "FULLY_CONNECTED")
    ]
    constant = read.tensors[read.operators[1].inputs[1]].data
    assert constant is not None and constant.tolist() == [1, length]
    # The layers keep the names that they have in the file.
    assert [operator.name for operator in read.operators] == ["relu61", "reshape1", "dense1"]
    x = random_graphs.pictures(np.random.default_rng(0), graph, 5)
    assert np.array_equal(reference.predict(read, x), oracle.predict(graph, x))


def test_what_is_computed_from_constants_is_a_constant():
    builder = GraphBuilder("constants", (4,), 0.1, 5)
    x = builder.last
    builder.last = builder.constant(np.arange(-2, 2).astype(np.int8).reshape(1, 4), 0.2, 3)
    builder.logistic()
    constant = builder.last
    builder.last = x
    builder.mul(constant, scale=0.05, zero_point=-3)
    graph = builder.build()
    simple = folded(graph)
    assert [operator.kind.value for operator in simple.operators] == ["MUL"]
    values = random_graphs.pictures(np.random.default_rng(0), graph, 5)
    assert np.array_equal(reference.predict(simple, values), reference.predict(graph, values))


def test_a_size_of_minus_one_is_worked_out(monkeypatch):
    builder = GraphBuilder("minus one", (3, 4), 0.1, 5)
    builder.reshape((12,))
    graph = builder.build()
    tensors = list(graph.tensors)
    tensors[-1] = replace(tensors[-1], shape=(1, -1))
    unknown = replace(graph, tensors=tuple(tensors))
    assert with_known_shapes(unknown).output.shape == (1, 12)
    with monkeypatch.context() as patch:
        patch.setattr(tflite_writer, "validate", lambda graph: None)
        data = tflite.encode(unknown)
    read = tflite.decode(data, "minus one")
    x = random_graphs.pictures(np.random.default_rng(0), graph, 3)
    assert np.array_equal(reference.predict(read, x), oracle.predict(graph, x))
    for shape in ((-1, -1), (5, -1), (0, -1)):
        tensors[-1] = replace(tensors[-1], shape=shape)
        with pytest.raises(ModelError, match="is not fixed"):
            with_known_shapes(replace(graph, tensors=tuple(tensors)))


def _batched(graph: Graph, count: int) -> Graph:
    """The same operators on `count` pictures: the first size of every activation."""
    tensors = tuple(
        tensor if tensor.data is not None else replace(tensor, shape=(count, *tensor.shape[1:]))
        for tensor in graph.tensors
    )
    return replace(graph, tensors=tensors)


def test_a_batch_becomes_one_picture():
    rng = np.random.default_rng(0)
    builder = GraphBuilder("batch", (5, 4, 3), 0.1, 5)
    builder.pad(1, 0, 0, 1)
    builder.conv_2d(
        rng.integers(-127, 128, (4, 3, 3, 3)),
        0.01,
        rng.integers(-99, 99, 4),
        padding=Padding.SAME,
        scale=0.2,
        zero_point=-7,
    )
    gate = builder.last
    builder.logistic()
    builder.mul(gate, scale=0.2, zero_point=3)
    builder.add(builder.constant(np.array([1, 2, 3, 4], np.int8), 0.3), scale=0.3, zero_point=0)
    builder.mean(0.1, 4, keep_dims=False)
    builder.fully_connected(rng.integers(-127, 128, (3, 4)), 0.02, None, scale=0.3, zero_point=1)
    builder.softmax()
    graph = _batched(builder.build(), 3)
    read = tflite.decode(tflite.encode(graph), "batch")
    assert read.input.shape == (1, 5, 4, 3) and read.output.shape == (1, 3)
    x = random_graphs.pictures(rng, read, 6)
    running = oracle.interpreter(tflite.encode(graph))
    expected = []
    for start in (0, 3):
        running.set_input(x[start : start + 3], 0)
        running.invoke()
        expected.append(np.array(running.get_output(0)))
    assert np.array_equal(reference.predict(read, x), np.concatenate(expected))


def _reversed_batch(builder: GraphBuilder) -> None:
    every = 0b11
    builder.strided_slice([0, 0], [0, 0], [-1, 1], begin_mask=every, end_mask=every)


@pytest.mark.parametrize(
    "append",
    [
        pytest.param(lambda builder: builder.transpose((1, 0)), id="TRANSPOSE"),
        pytest.param(_reversed_batch, id="STRIDED_SLICE"),
        pytest.param(
            lambda builder: builder.add(
                builder.constant(np.arange(4).astype(np.int8).reshape(2, 2), 0.1),
                scale=0.1,
                zero_point=0,
            ),
            id="ADD",
        ),
        pytest.param(lambda builder: builder.mean(0.1, 0, (0,), True), id="MEAN"),
    ],
)
def test_pictures_that_meet_stay_together(append):
    """Two pictures of two bytes, so that every shape would fit either way."""
    builder = GraphBuilder("meet", (2,), 0.1, 5)
    builder._tensors[0] = replace(builder._tensors[0], shape=(2, 2))
    append(builder)
    graph = builder.build()
    assert one_picture(graph) is graph
    x = random_graphs.pictures(np.random.default_rng(0), graph, 4)
    assert x.shape == (4, 2, 2)
    assert np.array_equal(reference.predict(graph, x).ravel(), oracle.predict(graph, x).ravel())


def test_a_lower_rank_that_is_broadcast_is_no_batch():
    builder = GraphBuilder("rank", (2, 3), 0.1, 5)
    builder._tensors[0] = replace(builder._tensors[0], shape=(2, 2, 3))
    first = builder.last
    second = builder.input((3,), 0.1, 5)
    builder._tensors[second] = replace(builder._tensors[second], shape=(2, 3))
    builder.last = first
    builder.add(second, scale=0.1, zero_point=0)
    graph = builder.build()
    assert one_picture(graph) is graph
