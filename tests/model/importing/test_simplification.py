"""Rules of simplification, each on the smallest graph that shows it: what is left, and the same."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import numpy as np
import pytest

from model.importing.float_graph import FloatGraph
from model.importing.float_operators import (
    Affine,
    AveragePool,
    Binary,
    BinaryKind,
    Convolution,
    Dense,
    Function,
    MaxPool,
    Pad,
    Reduction,
    ReductionKind,
    Reshape,
    Transpose,
    Window,
)
from model.importing.simplification import simplify

RNG = np.random.default_rng(0)
SHAPE = (4, 5, 3)


def convolution(pads: tuple[int, int, int, int] = (0, 0, 0, 0)) -> Convolution:
    return Convolution(RNG.normal(size=(2, 2, 3, 6)), RNG.normal(size=6), Window((2, 2), pads=pads))


def affine(channels: int) -> Affine:
    return Affine(RNG.normal(size=channels), RNG.normal(size=channels))


def chain(*operators, clamps: dict[int, tuple[float, float]] | None = None) -> FloatGraph:
    graph = FloatGraph()
    tensor = graph.tensor(SHAPE)
    for place, operator in enumerate(operators):
        clamp = (clamps or {}).get(place)
        tensor = graph.append(operator, [tensor], f"n{place}", clamp)
    graph.outputs = [tensor]
    return graph


def relu_of(*operators) -> FloatGraph:
    return chain(*operators, Function("identity"), clamps={len(operators): (0.0, inf)})


def joined(build: Callable[[FloatGraph, int], int]) -> FloatGraph:
    graph = FloatGraph()
    graph.outputs = [build(graph, graph.tensor(SHAPE))]
    return graph


CASES: dict[str, tuple[Callable[[], FloatGraph], list[str]]] = {
    "affine behind": (lambda: chain(convolution(), affine(6)), ["Convolution"]),
    "affine before": (lambda: chain(affine(3), convolution()), ["Convolution"]),
    "affine before padding": (
        lambda: chain(affine(3), convolution((1, 1, 1, 1))),
        ["Affine", "Convolution"],
    ),
    "two affine": (
        lambda: chain(affine(3), affine(3), MaxPool(Window((2, 2)))),
        ["Affine", "MaxPool"],
    ),
    "affine behind a ReLU": (
        lambda: chain(convolution(), affine(6), clamps={0: (0.0, inf)}),
        ["Convolution", "Affine"],
    ),
    "affine in front of a flattening": (
        lambda: chain(
            affine(3), Reshape((60,)), Dense(RNG.normal(size=(60, 2)), RNG.normal(size=2))
        ),
        ["Reshape", "Dense"],
    ),
    "ReLU": (lambda: relu_of(convolution()), ["Convolution"]),
    "ReLU behind a pool": (
        lambda: relu_of(convolution(), MaxPool(Window((2, 2)))),
        ["Convolution", "MaxPool"],
    ),
    "ReLU of the input": (lambda: relu_of(), ["identity"]),
    "two clips": (
        lambda: chain(
            Function("identity"), Function("identity"), clamps={0: (-0.5, 2.0), 1: (-1.0, 0.5)}
        ),
        ["identity"],
    ),
    "clip of the greater of two": (
        lambda: joined(
            lambda graph, x: graph.append(
                Function("identity"),
                [graph.append(Binary(BinaryKind.MAXIMUM), [x, x], "max")],
                "clip",
                (0.0, 1.0),
            )
        ),
        ["maximum", "identity"],
    ),
    "padding": (
        lambda: chain(Pad(((1, 0), (0, 2), (0, 0))), convolution()),
        ["Convolution"],
    ),
    "padding of a pool": (
        lambda: chain(Pad(((1, 1), (1, 1), (0, 0))), AveragePool(Window((2, 2)))),
        ["AveragePool"],
    ),
    "padding of a maximum": (
        lambda: chain(Pad(((1, 1), (1, 1), (0, 0))), MaxPool(Window((2, 2)))),
        ["Pad", "MaxPool"],
    ),
    "padding with another value": (
        lambda: chain(Pad(((1, 1), (1, 1), (0, 0)), 0.5), convolution()),
        ["Pad", "Convolution"],
    ),
    "reshapes": (lambda: chain(Reshape((60,)), Reshape((5, 12))), ["Reshape"]),
    "there and back": (
        lambda: chain(Transpose((2, 0, 1)), Transpose((1, 2, 0)), convolution()),
        ["Convolution"],
    ),
    "turned twice": (lambda: chain(Transpose((2, 0, 1)), Transpose((2, 0, 1))), ["Transpose"]),
    "sum": (
        lambda: chain(Reduction(ReductionKind.SUM, (0, 1))),
        ["mean over axes (0, 1)", "Affine"],
    ),
    "least": (
        lambda: chain(Reduction(ReductionKind.MIN, (0,))),
        ["Affine", "MaxPool", "Affine"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_left_computes_the_same(name: str) -> None:
    build, kinds = CASES[name]
    graph = build()
    x = RNG.normal(size=(3, *SHAPE)).astype(np.float32)
    (want,) = graph.run(x)
    simplify(graph)
    (found,) = graph.run(x)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)
    assert [node.operator.kind for node in graph.nodes] == kinds
