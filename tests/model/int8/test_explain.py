"""Where a byte comes from: the integers told make the byte, by arithmetic written here anew."""

from __future__ import annotations

import numpy as np
import pytest

from model.int8 import reference
from model.int8.builder import GraphBuilder
from model.int8.explain import explain
from model.int8.explanation import Explanation, Step
from model.int8.graph import Activation, Graph, Padding
from tests.model.int8 import random_arithmetic, random_graphs, random_moves, random_whole

GRAPHS = 3
POSITIONS = 6


def done(step: Step, x: int) -> int:
    """What a step makes of a number, in plain Python."""
    operands = step.operands
    match step.what:
        case "bias" | "zero points" | "plus":
            result = x + operands[0]
        case "minus":
            result = x - operands[0]
        case "negate":
            result = -x
        case "shift left":
            result = x << operands[0]
        case "multiply":
            # To the nearest 2**31st, half up.
            return min((2 * x * operands[0] + (1 << 31)) >> 32, (1 << 31) - 1)
        case "shift right":
            size, half = abs(x), 1 << operands[0] >> 1
            return (size + half >> operands[0]) * (1 if x >= 0 else -1)
        case "divide":
            size = (2 * abs(x) + operands[0]) // (2 * operands[0])
            return size if x >= 0 else -size
        case "clamp":
            return sorted((operands[0], x, operands[1]))[1]
        case _:
            raise AssertionError(step)
    return (result + (1 << 31)) % (1 << 32) - (1 << 31)


def through(steps: tuple[Step, ...], x: int, table: np.ndarray | None = None) -> int:
    for step in steps:
        x = int(table[x + 128]) if step.what == "table" and table is not None else done(step, x)
        assert x == step.result, step
    return x


def check(told: Explanation, values: dict[int, np.ndarray], graph: Graph) -> None:
    """Everything told adds up, and what was read is what stands there."""
    parts = []
    for source in told.sources:
        example = values[source.tensor].reshape(graph.tensors[source.tensor].example_shape)
        for position, inside, value in zip(source.positions, source.inside, source.values):
            assert not inside or example[tuple(position)] == value
        weights = np.ones_like(source.values) if source.weights is None else source.weights
        products = [
            (int(value) - source.zero_point) * int(weight)
            for value, weight in zip(source.values, weights)
        ]
        assert np.prod(source.shape) == len(products)
        if source.steps:
            products = [through(source.steps, products[0])]
        parts += products
    match told.how:
        case "sum":
            assert told.joined == sum(parts)
        case "greatest":
            assert told.joined == max(parts)
        case "least":
            assert told.joined == min(parts)
        case "product":
            assert told.joined == parts[0] * parts[1]
        case "value" | "moved":
            assert [told.joined] == parts
        case _:
            assert told.how in ("given", "reference") and not parts
    assert through(told.steps, told.joined, told.table) == told.result


def examine(graph: Graph, rng: np.random.Generator, positions: int = POSITIONS) -> set[str]:
    """Explain some values of every int8 tensor; gives how they were explained."""
    inputs = random_graphs.examples(rng, graph, 1)
    expected = reference.run(graph, inputs, keep="all")
    values = reference.replay(graph, {name: each[0] for name, each in inputs.items()}, {})
    found = set()
    for operator in graph.operators:
        for tensor in operator.outputs:
            shape = graph.tensors[tensor].example_shape
            if graph.tensors[tensor].dtype != "int8":
                continue
            every = list(np.ndindex(shape))
            corners = [every[0], every[-1]]
            chosen = rng.choice(len(every), min(positions, len(every)), replace=False)
            for position in corners + [every[index] for index in chosen]:
                told = explain(graph, tensor, position, values)
                assert told.result == expected[tensor][0][position], (operator, position)
                assert told.operator is operator and told.position == position
                check(told, values, graph)
                found.add(told.how)
    return found


KINDS = {
    "sum": (
        random_graphs.conv_2d,
        random_graphs.dilated_conv_2d,
        random_graphs.depthwise_conv_2d,
        random_graphs.fully_connected,
        random_graphs.per_channel_fully_connected,
        random_graphs.average_pool_2d,
        random_graphs.mean,
        random_graphs.add,
        random_arithmetic.grouped_conv_2d,
        random_arithmetic.fully_connected_on_a_map,
        random_arithmetic.transpose_conv,
        random_arithmetic.add,
        random_arithmetic.sub,
    ),
    "greatest": (random_graphs.max_pool_2d, random_arithmetic.maximum),
    "least": (random_arithmetic.minimum,),
    "product": (random_arithmetic.mul, random_arithmetic.prelu),
    "value": (
        random_graphs.logistic,
        random_graphs.tanh,
        random_graphs.relu,
        random_graphs.relu6,
        random_graphs.leaky_relu,
        random_graphs.hard_swish,
        random_graphs.quantize,
        random_arithmetic.elu,
        random_arithmetic.absolute,
    ),
    "moved": (
        random_graphs.reshape,
        random_graphs.pad,
        random_moves.concatenation,
        random_moves.pack,
        random_moves.unpack,
        random_moves.split,
        random_moves.split_v,
        random_moves.slices,
        random_moves.strided_slice,
        random_moves.transpose,
        random_moves.squeeze,
        random_moves.blocks,
        random_moves.pad_any,
        random_moves.reverse,
    ),
    "reference": (random_graphs.softmax, random_arithmetic.log_softmax),
}


@pytest.mark.parametrize(
    ("how", "draw"),
    [(how, draw) for how, draws in KINDS.items() for draw in draws],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_every_kind(how, draw):
    rng = np.random.default_rng(7)
    found = set().union(*(examine(draw(rng), rng) for _ in range(GRAPHS)))
    assert how in found


def test_reductions():
    rng = np.random.default_rng(3)
    found = set().union(*(examine(random_arithmetic.reduction(rng), rng) for _ in range(20)))
    assert {"sum", "greatest", "least"} <= found


@pytest.mark.parametrize("seed", range(8))
def test_whole_networks(seed):
    rng = np.random.default_rng(seed)
    examine(random_whole.network(rng), rng, 3)


def test_what_a_convolution_tells():
    """By hand: 2×2 over 3×3 with a row of padding, and the numbers that one would write down."""
    builder = GraphBuilder("hand", (3, 3, 1), 0.5, -3)
    weights = np.array([[[[1], [2]], [[3], [4]]]], np.int8)
    builder.conv_2d(
        weights,
        0.25,
        np.array([7]),
        scale=1.0,
        zero_point=5,
        padding=Padding.SAME,
        activation=Activation.RELU,
    )
    graph = builder.build()
    x = np.arange(-4, 5, dtype=np.int8).reshape(3, 3, 1)
    values = reference.replay(graph, x, {})
    told = explain(graph, graph.outputs[0], (2, 1, 0), values)
    (source,) = told.sources
    assert source.shape == (2, 2, 1) and source.zero_point == -3
    assert source.inside.tolist() == [True, True, False, False]
    assert source.values.tolist() == [3, 4, -3, -3]
    assert source.positions[:2].tolist() == [[2, 1, 0], [2, 2, 0]]
    assert source.weights.tolist() == [1, 2, 3, 4]
    assert source.terms.tolist() == [6, 14, 0, 0]
    # The factor is 0.5 · 0.25 / 1 = 2**30 · 2**-2 / 2**31.
    assert told.steps == (
        Step("bias", (7,), 27),
        Step("multiply", (1 << 30,), 14),
        Step("shift right", (2,), 4),
        Step("plus", (5,), 9),
        Step("clamp", (5, 127), 9),
    )
    assert (told.joined, told.result) == (20, 9)


def test_what_there_is_not():
    builder = GraphBuilder("small", (2, 2, 1), 0.5, 0)
    builder.max_pool_2d((2, 2))
    graph = builder.build()
    values = reference.replay(graph, np.zeros((2, 2, 1), np.int8), {})
    for tensor, position in ((99, (0,)), (-1, (0,)), (1, (0, 0)), (1, (0, 0, 1)), (1, (0, -1, 0))):
        with pytest.raises(IndexError, match="there is no tensor|is no position"):
            explain(graph, tensor, position, values)
    given = explain(graph, graph.inputs[0], (1, 1, 0), values)
    assert (given.how, given.operator, given.result) == ("given", None, 0)
