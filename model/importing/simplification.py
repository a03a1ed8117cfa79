"""The same float graph with fewer nodes: what int8 would round for nothing is folded away.

Batch normalisation and constants go into the weights before or behind them, a ReLU or clip into the
node before it, padding into the window behind it.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from model.importing.float_graph import Clamp, FloatGraph, Node
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
    Reshape,
    Transpose,
    TransposedConvolution,
)
from model.importing.lowering import lower_averages, lower_reductions

__all__ = ["leading_affine", "simplify", "takes_bytes"]

_LARGEST_PIXEL_FACTOR = 1 / 32
"""Pixels of 0 to 1 are never scaled down by as much, those of 0 to 255 always."""


def leading_affine(graph: FloatGraph) -> tuple[np.ndarray, np.ndarray] | None:
    """Take out what the network does to its input first, if that is a factor and an offset.

    Returns
    -------
    tuple of ndarray, or None
        Factor and offset of each channel; the graph is without them from now on.
    """
    channels = graph.shapes[0][-1]
    factor, offset = np.ones(channels), np.zeros(channels)
    found = False
    while True:
        node = graph.sole_consumer(0)
        if node is None or not isinstance(node.operator, Affine) or node.clamp is not None:
            break
        if {0, node.output} & graph.fixed.keys() or node.output in graph.outputs:
            break
        both = node.operator.by_channel(channels)
        if both is None or not both[0].all():
            break
        factor, offset = factor * both[0], offset * both[0] + both[1]
        graph.bypass(node)
        found = True
    return (factor, offset) if found else None


def takes_bytes(graph: FloatGraph) -> bool:
    """Whether the network begins by scaling pixels of 0 to 255 down, as Keras's Rescaling does."""
    found = leading_affine(graph.copy())
    return found is not None and bool((np.abs(found[0]) < _LARGEST_PIXEL_FACTOR).all())


def simplify(graph: FloatGraph, tolerance: float = 0.0) -> None:
    """Fold away, in place, what need not be a node of its own.

    Parameters
    ----------
    graph : FloatGraph
    tolerance : float
        An offset of the input up to which it goes into a convolution with padding, which then
        sees it at the picture's edges, too.
    """
    graph.drop_unused()
    lower_reductions(graph)
    lower_averages(graph)
    rules = (
        _drop_identity,
        _clamp_into_producer,
        _affine_into_producer,
        _affine_into_consumer,
        _affine_behind_reshape,
        _pad_into_window,
        _reshape_of_reshape,
        _transpose_of_transpose,
    )
    changed = True
    while changed:
        changed = False
        for node in list(graph.nodes):
            allowed = tolerance if node.inputs[0] == 0 else 0.0
            if node in graph.nodes and any(rule(graph, node, allowed) for rule in rules):
                changed = True
    graph.drop_unused()


def _absorb(graph: FloatGraph, producer: Node, node: Node) -> None:
    """Take a node out that its producer now does: it writes the node's output."""
    graph.nodes.remove(node)
    producer.output = node.output


def _alone(graph: FloatGraph, node: Node) -> Node | None:
    """The producer of a node's input, where only this node reads it and its rounding is free."""
    source = node.inputs[0]
    producer = graph.producer(source)
    if producer is None or source in graph.fixed or graph.sole_consumer(source) is not node:
        return None
    return producer


def _drop_identity(graph: FloatGraph, node: Node, _: float) -> bool:
    is_identity = isinstance(node.operator, Function) and node.operator.name == "identity"
    if isinstance(node.operator, Reshape):
        is_identity = node.operator.new_shape == graph.shapes[node.inputs[0]]
    if not is_identity or node.clamp is not None or node.output in graph.fixed:
        return False
    if node.inputs[0] == 0 and node.output in graph.outputs:
        return False
    graph.bypass(node)
    return True


_Weighted = Convolution | Dense | TransposedConvolution

_CLAMPED = (Affine, Binary, Convolution, Dense, TransposedConvolution)


def _is_identity(node: Node) -> bool:
    return isinstance(node.operator, Function) and node.operator.name == "identity"


def _clamp_into_producer(graph: FloatGraph, node: Node, _: float) -> bool:
    if node.clamp is None or not _is_identity(node):
        return False
    producer = _alone(graph, node)
    if producer is None:
        return False
    if isinstance(producer.operator, MaxPool | Reshape | Transpose):
        # They commute with what rises: the clamp goes one node further up.
        first = _alone(graph, producer)
        if first is None or not (isinstance(first.operator, _CLAMPED) or _is_identity(first)):
            return False
        first.clamp = _both(first.clamp, node.clamp)
        if node.output in graph.fixed:
            graph.fixed[producer.output] = graph.fixed.pop(node.output)
        graph.bypass(node)
        return True
    if not isinstance(producer.operator, _CLAMPED) and not _is_identity(producer):
        return False
    if producer.operator in (Binary(BinaryKind.MAXIMUM), Binary(BinaryKind.MINIMUM)):
        return False  # TensorFlow Lite clips none of these
    producer.clamp = _both(producer.clamp, node.clamp)
    _absorb(graph, producer, node)
    return True


def _both(first: Clamp | None, second: Clamp) -> Clamp:
    """Bounds of one clip behind another."""
    if first is None:
        return second
    low, high = (float(np.clip(bound, *second)) for bound in first)
    return low, high


def _scaled(operator: _Weighted, factor: np.ndarray, offset: np.ndarray) -> _Weighted:
    """The operator with its output times `factor` plus `offset`, by channel."""
    scale = operator.weight_scale if (factor == 1).all() else None
    return replace(
        operator,
        weights=operator.weights * factor,
        bias=operator.bias * factor + offset,
        weight_scale=scale,
    )


def _affine_into_producer(graph: FloatGraph, node: Node, _: float) -> bool:
    if not isinstance(node.operator, Affine):
        return False
    producer = _alone(graph, node)
    if producer is None or producer.clamp is not None:
        return False
    channels = graph.shapes[node.output][-1]
    both = node.operator.by_channel(channels)
    if both is None:
        return False
    factor, offset = both
    match producer.operator:
        case Convolution() | Dense() | TransposedConvolution() as operator:
            producer.operator = _scaled(operator, factor, offset)
        case Affine() as operator if (first := operator.by_channel(channels)) is not None:
            producer.operator = Affine(first[0] * factor, first[1] * factor + offset)
        case _:
            return False
    producer.clamp = node.clamp
    _absorb(graph, producer, node)
    return True


def _affine_into_consumer(graph: FloatGraph, node: Node, tolerance: float) -> bool:
    if not isinstance(node.operator, Affine) or node.clamp is not None:
        return False
    if node.output in graph.fixed:
        return False
    consumer = graph.sole_consumer(node.output)
    both = node.operator.by_channel(graph.shapes[node.output][-1])
    if consumer is None or both is None:
        return False
    factor, offset = both
    match consumer.operator:
        case Dense() as operator:
            consumer.operator = replace(
                operator,
                weights=operator.weights * factor[:, np.newaxis],
                bias=operator.bias + offset @ operator.weights,
                weight_scale=None,
            )
        case Convolution() as operator:
            if any(operator.window.pads) and (np.abs(offset) > tolerance).any():
                return False
            rows, columns, inputs, outputs = operator.weights.shape
            # Each output channel's own input channels.
            group = np.arange(outputs) // (outputs // operator.groups)
            chosen = group * inputs + np.arange(inputs)[:, np.newaxis]
            added = (operator.weights * offset[chosen]).sum(axis=(0, 1, 2))
            consumer.operator = replace(
                operator,
                weights=operator.weights * factor[chosen],
                bias=operator.bias + added,
                weight_scale=None,
            )
        case _:
            return False
    graph.bypass(node)
    return True


def _affine_behind_reshape(graph: FloatGraph, node: Node, _: float) -> bool:
    """In front of a flattening that feeds a dense layer: behind it, whence it can go on."""
    if not isinstance(node.operator, Affine) or node.clamp is not None:
        return False
    reshape = graph.sole_consumer(node.output)
    if reshape is None or not isinstance(reshape.operator, Reshape):
        return False
    dense = graph.sole_consumer(reshape.output)
    if dense is None or not isinstance(dense.operator, Dense):
        return False
    if {node.output, reshape.output} & graph.fixed.keys():
        return False
    shape = graph.shapes[node.output]
    factor, offset = (
        np.broadcast_to(each, shape).reshape(-1)
        for each in (node.operator.factor, node.operator.offset)
    )
    flat = graph.tensor((prod(shape),))
    place = graph.nodes.index(reshape)
    graph.nodes.insert(place + 1, Node(node.name, Affine(factor, offset), [flat], reshape.output))
    reshape.output = flat
    graph.bypass(node)
    return True


def _pad_into_window(graph: FloatGraph, node: Node, _: float) -> bool:
    if not isinstance(node.operator, Pad) or node.operator.value or node.clamp is not None:
        return False
    if node.output in graph.fixed or len(node.operator.pads) != 3 or any(node.operator.pads[2]):
        return False
    consumer = graph.sole_consumer(node.output)
    if consumer is None:
        return False
    (top, bottom), (left, right) = node.operator.pads[:2]
    match consumer.operator:
        case Convolution() as operator:
            pads = tuple(np.add(operator.window.pads, (top, left, bottom, right)).tolist())
            window = replace(operator.window, pads=pads)
            consumer.operator = replace(operator, window=window)
        case AveragePool(window) if not any(window.pads):
            pads = (top, left, bottom, right)
            consumer.operator = AveragePool(replace(window, pads=pads), pads)
        case _:
            return False
    graph.bypass(node)
    return True


def _reshape_of_reshape(graph: FloatGraph, node: Node, _: float) -> bool:
    if not isinstance(node.operator, Reshape):
        return False
    producer = graph.producer(node.inputs[0])
    if producer is None or not isinstance(producer.operator, Reshape):
        return False
    if producer.clamp is not None or node.inputs[0] in graph.fixed:
        return False
    node.inputs = list(producer.inputs)
    if not graph.consumers(producer.output) and producer.output not in graph.outputs:
        graph.nodes.remove(producer)
    return True


def _transpose_of_transpose(graph: FloatGraph, node: Node, _: float) -> bool:
    if not isinstance(node.operator, Transpose):
        return False
    producer = _alone(graph, node)
    if producer is None or not isinstance(producer.operator, Transpose):
        return False
    first = producer.operator.axes
    axes = tuple(first[axis] for axis in node.operator.axes)
    node.inputs = list(producer.inputs)
    graph.nodes.remove(producer)
    if axes == tuple(range(len(axes))):
        node.operator = Function("identity")
    else:
        node.operator = Transpose(axes)
    return True
