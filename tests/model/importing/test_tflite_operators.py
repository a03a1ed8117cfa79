"""Single operators of float `.tflite` files against TFLM, in float and, once converted, in int8."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.errors import ModelError
from model.importing.conversion import Conversion
from model.importing.importer import read_model
from model.importing.simplification import simplify
from model.int8 import reference
from model.int8.builder import GraphBuilder
from model.int8.graph import Activation, Graph, Operator, OperatorKind, Padding, Tensor
from model.int8.tflite_writer import _Writer
from tests.model.int8 import oracle

RNG = np.random.default_rng(0)
OUT = {"scale": 0.1, "zero_point": 3}
PICTURE = (6, 5, 4)


def weights(*shape: int) -> np.ndarray:
    return RNG.integers(-127, 128, shape).astype(np.int8)


def bias(count: int) -> np.ndarray:
    return RNG.integers(-9999, 9999, count).astype(np.int32)


def as_float(graph: Graph) -> bytes:
    """The file of a graph whose int8 tensors are of float32, constants dequantised.

    The writer alone writes it: `tflite.encode` refuses what does not run in int8.
    """
    tensors = []
    for tensor in graph.tensors:
        affine = tensor.quantization
        if affine is not None:
            data = tensor.data
            if data is not None:
                shape = [1] * data.ndim
                if len(affine.scale) > 1:
                    shape[affine.axis] = len(affine.scale)
                scale, zero = affine.scale.reshape(shape), affine.zero_point.reshape(shape)
                data = ((data - zero.astype(np.float64)) * scale).astype(np.float32)
            tensor = replace(tensor, dtype="float32", quantization=None, data=data)
        tensors.append(tensor)
    return _Writer(replace(graph, tensors=tuple(tensors))).write()


def conv(b: GraphBuilder, groups: int = 1, **options) -> None:
    filters = weights(8, 3, 3, b.shape[2] // groups)
    b.conv_2d(filters, np.full(8, 0.001), bias(8), **OUT, **options)


def depthwise(b: GraphBuilder) -> None:
    b.depthwise_conv_2d(weights(1, 3, 3, 8), np.full(8, 0.001), bias(8), **OUT, stride=(2, 1))


def transposed(b: GraphBuilder, padding: Padding, size: tuple[int, int]) -> None:
    filters = weights(3, 3, 3, 4)
    b.transpose_conv(
        filters, np.full(3, 0.001), bias(3), **OUT, stride=(2, 2), padding=padding, size=size
    )


def dense(b: GraphBuilder, inputs: int, keep: bool = False) -> None:
    b.fully_connected(weights(3, inputs), [0.001], bias(3), **OUT, keep_num_dims=keep)


def numbers(b: GraphBuilder, *shape: int) -> int:
    return b.constant(RNG.integers(20, 127, shape).astype(np.int8), 0.02)


def branch(b: GraphBuilder, join: Callable[[GraphBuilder, int], object]) -> None:
    """What an operator of two activations does to the input and its tanh."""
    first = b.last
    b.tanh()
    join(b, first)


def behind(name: str) -> Callable[[GraphBuilder, int], object]:
    return lambda b, other: getattr(b, name)(other, **OUT)


def swapped(name: str) -> Callable[[GraphBuilder], object]:
    """Arithmetic whose first input is the constant."""

    def build(b: GraphBuilder) -> None:
        other = b.last
        b.last = numbers(b, 1, 1, 1, 4)
        getattr(b, name)(other, **OUT)

    return build


def pooled(b: GraphBuilder) -> None:
    b.mean(0.02, 0, keep_dims=False)


def split(b: GraphBuilder, by_sizes: bool) -> None:
    b.last = b.split_v(3, [1, 3])[1] if by_sizes else b.split(2, 5)[3]


def pad(b: GraphBuilder, value: int | None) -> None:
    options = {} if value is None else {"scale": 0.02, "zero_point": 0}
    b.pad_by(((1, 0), (0, 2), (0, 0)), value, **options)


def sequence(b: GraphBuilder) -> None:
    """Of two axes: what names an axis means another of ours."""
    first = b.last
    b.pad_by(((1, 1), (0, 0)))
    b.slice((0, 1, 0), (1, 6, 4))
    b.concatenation([first], 1)
    b.strided_slice((0, 0, 1), (1, 12, 4), (1, 2, 1))
    b.transpose((0, 2, 1))
    b.softmax()


CASES: dict[str, Callable[[GraphBuilder], object]] = {
    "conv": conv,
    "conv, same": lambda b: conv(b, padding=Padding.SAME, stride=(2, 2)),
    "conv, relu6": lambda b: conv(b, activation=Activation.RELU6),
    "conv, -1 to 1": lambda b: conv(b, activation=Activation.RELU_N1_TO_1),
    "conv, groups": lambda b: conv(b, groups=2, dilation=(2, 1), padding=Padding.SAME),
    "depthwise": depthwise,
    "transposed, valid": lambda b: transposed(b, Padding.VALID, (13, 11)),
    "transposed, same": lambda b: transposed(b, Padding.SAME, (12, 10)),
    "dense": lambda b: dense(b, 120),
    "dense of pixels": lambda b: dense(b, 4, keep=True),
    "max pool": lambda b: b.max_pool_2d((2, 3), (2, 1), Padding.SAME),
    "average pool": lambda b: b.average_pool_2d((3, 2), (1, 2), Padding.SAME),
    "add": lambda b: branch(b, behind("add")),
    "subtract": lambda b: branch(b, behind("sub")),
    "multiply": lambda b: branch(b, behind("mul")),
    "maximum": lambda b: branch(b, lambda b, other: b.maximum(other)),
    "minimum": lambda b: branch(b, lambda b, other: b.minimum(other)),
    "add a constant": lambda b: b.add(numbers(b, 1, 1, 1, 4), **OUT),
    "add a picture": lambda b: b.add(numbers(b, 1, *PICTURE), **OUT),
    "subtract a constant": lambda b: b.sub(numbers(b, 4), **OUT),
    "subtract from a constant": swapped("sub"),
    "multiply by a constant": lambda b: b.mul(numbers(b, 1, 1, 1, 4), **OUT),
    "multiply by a picture": lambda b: b.mul(numbers(b, 1, *PICTURE), **OUT),
    "maximum of a constant": lambda b: b.maximum(b.constant(weights(1), 0.001)),
    "minimum of a constant": lambda b: b.minimum(b.constant(np.array([50], np.int8), 0.01)),
    "mean": lambda b: b.mean(0.02, 0),
    "mean of rows": lambda b: b.mean(0.02, 0, (1,)),
    "mean of channels": lambda b: b.mean(0.02, 0, (-1,), keep_dims=False),
    "mean, flattened": lambda b: (pooled(b), dense(b, 4)),
    "sum": lambda b: b.sum(0.02, 0, (1, 2)),
    "greatest": lambda b: b.reduce_max(),
    "greatest of channels": lambda b: b.reduce_max((3,)),
    "least": lambda b: b.reduce_min(),
    "relu": lambda b: b.relu(0.02, 0),
    "relu6": lambda b: b.relu6(),
    "leaky relu": lambda b: b.leaky_relu(0.3, **OUT),
    "elu": lambda b: b.elu(**OUT),
    "hard swish": lambda b: b.hard_swish(**OUT),
    "logistic": lambda b: b.logistic(),
    "absolute": lambda b: b.abs(**OUT),
    "prelu": lambda b: b.prelu(weights(1, 1, 1, 4), 0.005, **OUT),
    "softmax": lambda b: b.softmax(0.5),
    "pad": lambda b: pad(b, None),
    "pad by a value": lambda b: pad(b, 50),
    "transpose": lambda b: b.transpose((0, 3, 1, 2)),
    "concatenate": lambda b: branch(b, lambda b, other: b.concatenation([other])),
    "concatenate columns": lambda b: branch(b, lambda b, other: b.concatenation([other], 2)),
    "slice": lambda b: b.slice((0, 1, 0, 2), (1, 4, 5, 2)),
    "slice in steps": lambda b: b.strided_slice((0, 1, 0, 0), (1, 6, 5, 4), (1, 2, 1, 3)),
    "split": lambda b: split(b, False),
    "split by sizes": lambda b: split(b, True),
    "reshape": lambda b: (b.reshape((30, 4)), b.expand_dims(1), b.squeeze()),
    "nearest": lambda b: b.resize_nearest_neighbor(9, 10),
    "nearest, half pixels": lambda b: b.resize_nearest_neighbor(9, 10, half_pixel=True),
    "nearest, corners": lambda b: b.resize_nearest_neighbor(9, 10, align_corners=True),
    "bilinear": lambda b: b.resize_bilinear(9, 10),
    "bilinear, half pixels": lambda b: b.resize_bilinear(9, 10, half_pixel=True),
    "bilinear, corners": lambda b: b.resize_bilinear(9, 10, align_corners=True),
    "sequence": sequence,
}


def read(folder: Path, content: bytes):
    path = folder / "m.tflite"
    path.write_bytes(content)
    return read_model(path)[0]


@pytest.mark.parametrize("name", CASES)
def test_float_and_int8_are_what_tflm_computes(name: str, tmp_path: Path) -> None:
    shape = (6, 4) if name == "sequence" else PICTURE
    builder = GraphBuilder("m", shape, 0.02, 0)
    CASES[name](builder)
    content = as_float(builder.build())
    x = RNG.normal(size=(20, *shape)).astype(np.float32)
    judge = oracle.interpreter(content)
    want = []
    for each in x:
        judge.set_input(each[np.newaxis], 0)
        judge.invoke()
        want.append(np.array(judge.get_output(0)).ravel())
    graph = read(tmp_path, content)
    ours = x.reshape(len(x), *graph.shapes[0])
    for _ in range(2):
        (found,) = graph.run(ours)
        np.testing.assert_allclose(found.reshape(len(x), -1), want, rtol=1e-4, atol=1e-5)
        simplify(graph)
    conversion = Conversion(graph, None, ours)
    exported = conversion.export("m")
    assert conversion.compare(exported, ours, None).snr_db > 28
    stored = conversion.stored(ours[:3])
    computed = reference.run(exported, stored, "all")
    for tensor, values in oracle.run(exported, stored).items():
        np.testing.assert_array_equal(computed[tensor], values)


def changed(graph: Graph, **changes) -> Graph:
    """The graph with its last operator altered."""
    last = replace(graph.operators[-1], **changes)
    return replace(graph, operators=(*graph.operators[:-1], last))


def built(build: Callable[[GraphBuilder], object], shape: tuple[int, ...] = PICTURE) -> Graph:
    builder = GraphBuilder("m", shape, 0.02, 0)
    build(builder)
    return builder.build()


def constant(graph: Graph, values: object, place: int = 1) -> Graph:
    """The graph with other values in a constant of its last operator."""
    index = graph.operators[-1].inputs[place]
    old = graph.tensors[index]
    assert old.data is not None
    data = np.asarray(values, old.data.dtype)
    tensors = list(graph.tensors)
    tensors[index] = replace(old, data=data, shape=data.shape)
    return replace(graph, tensors=tuple(tensors))


def two_inputs() -> Graph:
    builder = GraphBuilder("m", (4,), 0.02, 0)
    first = builder.last
    builder.input((4,), 0.02, 0)
    builder.add(first, **OUT)
    return builder.build()


def no_stride() -> Graph:
    graph = built(lambda b: transposed(b, Padding.SAME, (12, 10)))
    options: Any = graph.operators[-1].options
    return changed(graph, options=replace(options, stride_h=0))


def conv_of_activations() -> Graph:
    graph = built(conv)
    return changed(graph, inputs=(0, 0, graph.operators[-1].inputs[2]))


REFUSED: dict[str, Callable[[], Graph]] = {
    "has 2 inputs; one is possible": two_inputs,
    "(REVERSE_V2): is not supported": lambda: built(lambda b: b.reverse((1,))),
    "an output depends on no input, or is the input": lambda: replace(
        built(lambda b: b.tanh()), outputs=(0,)
    ),
    "its weights must be constant": conv_of_activations,
    "(TRANSPOSE_CONV): a stride below 1": no_stride,
    "fused SIGN_BIT is not supported": lambda: built(
        lambda b: conv(b, activation=Activation.SIGN_BIT)
    ),
    "with an array is not supported": lambda: built(lambda b: b.maximum(numbers(b, 1, 1, 1, 4))),
    "touches the batch": lambda: constant(built(lambda b: b.mean(0.02, 0)), [0, 1]),
    "of the batch is not supported": lambda: constant(
        built(lambda b: pad(b, None)), [[1, 0], [0, 0], [0, 0], [0, 0]]
    ),
    "(TRANSPOSE): touches the batch": lambda: constant(
        built(lambda b: b.transpose((0, 3, 1, 2))), [3, 0, 1, 2]
    ),
    "(SLICE): takes nothing, or backwards": lambda: constant(
        built(lambda b: b.slice((0, 1, 0, 2), (1, 4, 5, 2))), [1, 4, 5, 0], 2
    ),
    "changes the batch": lambda: constant(built(lambda b: dense(b, 120)), np.ones((3, 7))),
    "weights of 1 dimensions": lambda: constant(built(lambda b: dense(b, 120)), np.ones(7)),
    "its input 2 must depend on": lambda: built(
        lambda b: branch(b, lambda b, other: b.concatenation([numbers(b, 1, *PICTURE)], 3))
    ),
    "a tensor has shape 2x4": lambda: replace(
        (graph := built(lambda b: b.tanh(), (4,))),
        tensors=tuple(replace(each, shape=(2, 4)) for each in graph.tensors),
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        read(tmp_path, as_float(REFUSED[message]()))
    text = str(caught.value)
    assert message in text and "\n" not in text


def test_a_fused_tanh(tmp_path: Path) -> None:
    """TFLM fuses none, so the reader makes a layer of it."""
    graph = built(lambda b: b.mul(numbers(b, 1, 1, 1, 4), **OUT))
    factor = graph.tensors[graph.operators[-1].inputs[1]]
    assert factor.data is not None and factor.quantization is not None
    options = replace(graph.operators[-1].options, activation=Activation.TANH)
    source = read(tmp_path, as_float(changed(graph, options=options)))
    x = RNG.normal(size=(2, *PICTURE)).astype(np.float32)
    want = np.tanh(x * factor.data[0] * factor.quantization.scale)
    np.testing.assert_allclose(source.run(x)[0], want, atol=1e-6)


def test_constants_may_be_reshaped_and_half_as_precise(tmp_path: Path) -> None:
    """Weights of float16 behind a DEQUANTIZE and a RESHAPE, as converters leave them."""
    graph = built(lambda b: b.mul(numbers(b, 1, 1, 1, 4), **OUT))
    (last,) = graph.operators
    flat = replace(graph.tensors[last.inputs[1]], shape=(4,))
    assert flat.data is not None
    half = Tensor("half", (4,), "float16", None, flat.data.ravel().astype(np.float16))
    count = len(graph.tensors)
    tensors = [*graph.tensors, half, Tensor("single", (4,), "float32")]
    tensors[last.inputs[1]] = replace(flat, shape=(1, 1, 1, 4), data=None)
    operators = (
        Operator(OperatorKind.DEQUANTIZE, "dequantize1", (count,), (count + 1,)),
        Operator(OperatorKind.RESHAPE, "reshape1", (count + 1,), (last.inputs[1],)),
        last,
    )
    source = read(tmp_path, as_float(replace(graph, tensors=tuple(tensors), operators=operators)))
    x = RNG.normal(size=(2, *PICTURE)).astype(np.float32)
    np.testing.assert_allclose(source.run(x)[0], x * flat.data.ravel(), rtol=1e-3)
    operators = (replace(operators[0], kind=OperatorKind.TANH), *operators[1:])
    with pytest.raises(ModelError, match="of constants is not supported"):
        read(tmp_path, as_float(replace(graph, tensors=tuple(tensors), operators=operators)))
