"""Rewriting a graph as it is read, so that what runs sees fewer kinds of things.

What can be computed from constants and shapes is computed: the SHAPE, STRIDED_SLICE and PACK with
which converters work out a RESHAPE's shape vanish. A batch becomes one picture. Nothing here
changes a byte of an answer.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from model.errors import ModelError
from model.int8.graph import Graph, Operator, OperatorKind
from model.int8.operators import OPERATORS
from model.int8.operators.examined import Examined
from model.int8.operators.padding import padding
from model.int8.operators.slicing import slices

__all__ = ["folded", "one_picture", "with_known_shapes"]

_MAX_FOLDED = 1 << 20
"""Elements of a constant that is computed here."""


def with_known_shapes(graph: Graph) -> Graph:
    """Work out the -1 in the shape of a RESHAPE's output, as TFLM does.

    Raises
    ------
    ModelError
        If there is any other size that is not fixed.
    """
    tensors = list(graph.tensors)
    for operator in graph.operators:
        if operator.kind is not OperatorKind.RESHAPE:
            continue
        if not all(
            0 <= index < len(tensors) for index in (*operator.inputs[:1], *operator.outputs)
        ):
            continue
        for target in operator.outputs[:1]:
            shape, whole = tensors[target].shape, prod(tensors[operator.inputs[0]].shape)
            known = prod(size for size in shape if size != -1)
            if shape.count(-1) == 1 and known > 0 and whole % known == 0:
                fixed = tuple(whole // known if size == -1 else size for size in shape)
                tensors[target] = replace(tensors[target], shape=fixed)
    for tensor in tensors:
        if any(size < 0 for size in tensor.shape):
            raise ModelError(f"tensor {tensor.name}: shape {tensor.shape} is not fixed")
    return replace(graph, tensors=tuple(tensors))


def folded(graph: Graph) -> Graph:
    """Compute what depends on constants and shapes alone, and leave those layers out.

    A layer that cannot be computed, or is not even sound, stays as it is.
    """
    tensors = list(graph.tensors)
    left = []
    for operator in graph.operators:
        made = None
        if not set(operator.outputs) & {*graph.inputs, *graph.outputs}:
            made = _computed(replace(graph, tensors=tuple(tensors)), operator)
        if made is None:
            left.append(operator)
            continue
        for index, value in zip(operator.outputs, made, strict=True):
            tensors[index] = replace(tensors[index], data=value)
    return replace(graph, tensors=tuple(tensors), operators=tuple(left))


def _computed(graph: Graph, operator: Operator) -> list[np.ndarray] | None:
    """The operator's outputs if they are the same for every input of the graph."""
    definition = OPERATORS.get(operator.kind)
    if definition is None:
        return None
    needed = () if operator.kind is OperatorKind.SHAPE else operator.inputs
    every = (*operator.inputs, *operator.outputs)
    if not all(0 <= index < len(graph.tensors) for index in every) or not operator.inputs:
        return None
    tensors = [graph.tensors[index] for index in every]
    if any(graph.tensors[index].data is None for index in needed):
        return None
    if any(0 in tensor.shape or prod(tensor.shape) > _MAX_FOLDED for tensor in tensors):
        return None
    if any(graph.tensors[index].data is not None for index in operator.outputs):
        return None
    try:
        definition.check(Examined(graph, operator))
    except ModelError:
        return None
    inputs = [graph.tensors[index].data for index in operator.inputs]
    arrays = [np.empty(0) if data is None else data[np.newaxis] for data in inputs]
    outputs = definition.compute(graph, operator, arrays)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return [
        np.ascontiguousarray(value).reshape(graph.tensors[index].shape)
        for index, value in zip(operator.outputs, outputs, strict=True)
    ]


_BY_PICTURE = frozenset(
    {
        OperatorKind.CONV_2D,
        OperatorKind.DEPTHWISE_CONV_2D,
        OperatorKind.TRANSPOSE_CONV,
        OperatorKind.FULLY_CONNECTED,
        OperatorKind.MAX_POOL_2D,
        OperatorKind.AVERAGE_POOL_2D,
        OperatorKind.RESIZE_BILINEAR,
        OperatorKind.RESIZE_NEAREST_NEIGHBOR,
        OperatorKind.DEPTH_TO_SPACE,
        OperatorKind.SPACE_TO_DEPTH,
        OperatorKind.CONCATENATION,
        OperatorKind.SPLIT,
        OperatorKind.SPLIT_V,
        OperatorKind.TRANSPOSE,
        OperatorKind.RESHAPE,
        OperatorKind.SQUEEZE,
        OperatorKind.EXPAND_DIMS,
        OperatorKind.MEAN,
        OperatorKind.SUM,
        OperatorKind.REDUCE_MAX,
        OperatorKind.REDUCE_MIN,
        OperatorKind.SOFTMAX,
        OperatorKind.LOG_SOFTMAX,
        OperatorKind.ARG_MAX,
        OperatorKind.ARG_MIN,
        OperatorKind.DEQUANTIZE,
    }
)
"""Kinds that treat each picture of a batch for itself if their check passes with one picture."""


def one_picture(graph: Graph) -> Graph:
    """A network of a batch as one of a single picture, where every layer works on each for itself.

    Where a layer does not, or could not be told to, the graph stays as it is.
    """
    pictures = {
        graph.tensors[index].shape[0]
        for index in graph.inputs
        if 0 <= index < len(graph.tensors) and graph.tensors[index].shape
    }
    if len(pictures) != 1 or len(graph.inputs) == 0 or pictures <= {0, 1} or graph.variables:
        return graph
    (batch,) = pictures
    written = {index for op in graph.operators for index in op.outputs} | set(graph.inputs)
    if any(
        graph.tensors[index].shape[:1] != (batch,)
        for index in written
        if index < len(graph.tensors)
    ):
        return graph
    tensors = tuple(
        replace(tensor, shape=(1, *tensor.shape[1:])) if index in written else tensor
        for index, tensor in enumerate(graph.tensors)
    )
    single = replace(graph, tensors=tensors)
    try:
        alone = all(_keeps_apart(graph, single, operator) for operator in graph.operators)
    except (ModelError, IndexError):
        return graph
    return single if alone else graph


def _keeps_apart(graph: Graph, single: Graph, operator: Operator) -> bool:
    """Does `operator` work on each picture for itself?"""
    definition = OPERATORS[operator.kind]
    for each in (graph, single):
        definition.check(Examined(each, operator))
    if operator.kind in _BY_PICTURE:
        return True
    if operator.kind in (OperatorKind.PAD, OperatorKind.PADV2):
        return not padding(graph, operator)[0].any()
    if operator.kind in (OperatorKind.STRIDED_SLICE, OperatorKind.SLICE):
        size = graph.tensors[operator.inputs[0]].shape[0]
        first = slices(graph, operator)[0]
        return first.indices(size) == (0, size, 1)
    if definition.elementwise:
        rank = len(graph.tensors[operator.outputs[0]].shape)
        return all(
            len(tensor.shape) == rank or tensor.data is not None
            for tensor in (graph.tensors[index] for index in operator.inputs)
        )
    return False
