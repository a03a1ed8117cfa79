"""Averages and reductions as the pools and products that int8 has."""

from __future__ import annotations

from math import prod

import numpy as np

from model.importing.float_graph import FloatGraph, Node
from model.importing.float_operators import (
    Affine,
    AveragePool,
    Convolution,
    MaxPool,
    Reduction,
    ReductionKind,
    Reshape,
    Window,
)

__all__ = ["lower_averages", "lower_reductions"]


def lower_averages(graph: FloatGraph) -> None:
    """Averages whose padding does not count, and is not SAME, as those that count, and a factor."""
    for place, node in reversed(list(enumerate(graph.nodes))):
        operator = node.operator
        if not isinstance(operator, AveragePool):
            continue
        shape, window = graph.shapes[node.inputs[0]], operator.window
        counts = operator.counts(shape)
        taps = prod(window.kernel)
        if (counts == taps).all() or (window.is_same(shape) and not any(operator.counted)):
            continue
        between = graph.tensor(graph.shapes[node.output])
        factor = Affine(taps / counts.astype(np.float64), np.zeros(()))
        behind = Node(node.name, factor, [between], node.output, node.clamp)
        graph.nodes.insert(place + 1, behind)
        node.operator, node.output, node.clamp = AveragePool(window, window.pads), between, None


def lower_reductions(graph: FloatGraph) -> None:
    """Reductions as pools, sums of products, and factors; a mean over the picture stays."""
    nodes, graph.nodes = graph.nodes, []
    for node in nodes:
        if isinstance(node.operator, Reduction):
            _lower_reduction(graph, node, node.operator)
        else:
            graph.nodes.append(node)


def _lower_reduction(graph: FloatGraph, node: Node, operator: Reduction) -> None:
    name, tensor = node.name, node.inputs[0]
    shape = graph.shapes[tensor]
    axes = tuple(axis for axis in operator.axes if shape[axis] > 1)
    count = prod(shape[axis] for axis in axes)
    # The least is the greatest of what is negated.
    negative = operator.reduction is ReductionKind.MIN
    greatest = negative or operator.reduction is ReductionKind.MAX
    if negative:
        tensor = graph.append(Affine.uniform(-1.0), [tensor], name)
    if len(shape) != 3:
        tensor = graph.append(Reshape((1, 1, prod(shape))), [tensor], name)
        axes = (2,) if axes else ()
    height, width, channels = graph.shapes[tensor]
    spatial = tuple(axis for axis in axes if axis < 2)
    kernel = (height if 0 in spatial else 1, width if 1 in spatial else 1)
    if greatest:
        if spatial:
            tensor = graph.append(MaxPool(Window(kernel)), [tensor], name)
        if 2 in axes:
            # Channels as columns: a window of as many takes the greatest.
            rows, columns, _ = graph.shapes[tensor]
            tensor = graph.append(Reshape((rows * columns, channels, 1)), [tensor], name)
            tensor = graph.append(MaxPool(Window((1, channels))), [tensor], name)
    else:
        if spatial == (0, 1):
            tensor = graph.append(Reduction(ReductionKind.MEAN, (0, 1)), [tensor], name)
        elif spatial:
            tensor = graph.append(AveragePool(Window(kernel)), [tensor], name)
        if 2 in axes:
            weights = np.full((1, 1, channels, 1), 1 / channels)
            tensor = graph.append(Convolution(weights, np.zeros(1), Window((1, 1))), [tensor], name)
        if operator.reduction is ReductionKind.SUM:
            tensor = graph.append(Affine.uniform(float(count)), [tensor], name)
    if negative:
        tensor = graph.append(Affine.uniform(-1.0), [tensor], name)
    graph.append(Reshape(graph.shapes[node.output]), [tensor], name)
    graph.nodes[-1].output = node.output
    graph.nodes[-1].clamp = node.clamp
