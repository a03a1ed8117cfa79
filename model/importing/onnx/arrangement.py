"""ONNX nodes that take parts, join them, or change shape and order."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from model.importing import layout
from model.importing.float_operators import Concatenation, Slice
from model.importing.layout import Value
from model.importing.onnx.constants import axes_of, slices
from model.importing.onnx.context import (
    Arguments,
    Context,
    Translation,
    array,
    live,
    optional,
    text,
)
from model.importing.onnx.file import OnnxNode

__all__ = ["TRANSLATIONS"]


def _rearranged(node: OnnxNode, value: Value, index: np.ndarray) -> Value:
    if index.shape[:1] != (1,):
        raise node.error("touches the batch, which is not supported")
    return Value(value.tensor, index[0])


def _reshape(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = live(node, arguments)
    target = node.attributes.get("shape")
    if target is None:
        target = array(node, arguments, 1, "shape")
    sizes = [int(size) for size in np.ravel(target)]
    shape = context.shape(value)
    if not node.attributes.get("allowzero"):
        if any(size == 0 and place >= len(shape) for place, size in enumerate(sizes)):
            raise node.error(f"to {sizes}")
        sizes = [shape[place] if size == 0 else size for place, size in enumerate(sizes)]
    known = prod(size for size in sizes if size != -1)
    if sizes.count(-1) > 1 or known < 1 or prod(shape) % known:
        raise node.error(f"shape {text(shape)} to {sizes}")
    sizes = [prod(shape) // known if size == -1 else size for size in sizes]
    if prod(sizes) != prod(shape):
        raise node.error(f"shape {text(shape)} to {sizes}")
    if not sizes or sizes[0] != context.batch:
        raise node.error(f"shape {text(shape)} to {sizes} touches the batch, not supported")
    return Value(value.tensor, value.index.reshape(sizes[1:]))


def _flatten(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = live(node, arguments)
    rank = value.index.ndim + 1
    axis = int(node.attributes.get("axis", 1))
    axis = axis + rank if axis < 0 else axis
    if axis != 1 and not (axis > 1 and prod(value.shape[: axis - 1]) == 1):
        raise node.error(f"axis {axis} is not supported")
    return Value(value.tensor, value.index.reshape(-1))


def _transpose(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = live(node, arguments)
    order = node.attributes.get("perm") or list(range(value.index.ndim + 1))[::-1]
    return _rearranged(node, value, value.index[np.newaxis].transpose(order))


def _squeeze(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = live(node, arguments)
    axes = axes_of(node, arguments, value.index.ndim + 1)
    if axes is None:
        axes = tuple(axis + 1 for axis, size in enumerate(value.shape) if size == 1)
    if 0 in axes:
        raise node.error("touches the batch, which is not supported")
    return Value(value.tensor, np.squeeze(value.index, tuple(axis - 1 for axis in axes)))


def _unsqueeze(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = live(node, arguments)
    given = node.attributes.get("axes")
    if given is None:
        given = np.ravel(array(node, arguments, 1, "axes")).tolist()
    index = np.expand_dims(value.index[np.newaxis], tuple(int(axis) for axis in given))
    return _rearranged(node, value, index)


def _identity(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    return live(node, arguments)


def _concatenation(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    values = []
    for place, each in enumerate(arguments):
        if not isinstance(each, Value):
            raise node.error(f"its input {place + 1} is a constant, which is not supported")
        values.append(each)
    if len(values) == 1:
        return values[0]
    rank = values[0].index.ndim
    axis = int(node.attributes.get("axis", 1))
    if any(value.index.ndim != rank for value in values) or not -rank <= axis <= rank or not axis:
        raise node.error(f"axis {axis} of shapes {', '.join(text(v.shape) for v in values)}")
    axis = axis % (rank + 1) - 1
    graph = context.graph
    if rank == 1:
        # Each lies as it lies; the index tells.
        offsets = np.cumsum([0, *(value.index.size for value in values[:-1])])
        flat = [
            layout.reshaped(graph, value.tensor, (value.index.size,), node.name) for value in values
        ]
        tensor = graph.append(Concatenation(0), flat, node.name)
        places = [value.index + offset for value, offset in zip(values, offsets)]
        return Value(tensor, np.concatenate(places))
    if rank <= 3:
        pictures = [context.picture(node, value) for value in values]
        if axis == 0:
            tensor = graph.append(Concatenation(2), [each for each, _ in pictures], node.name)
            widths = [len(order) for _, order in pictures]
            offsets = np.cumsum([0, *widths[:-1]])
            orders = [order + offset for (_, order), offset in zip(pictures, offsets)]
            return context.result(tensor, values[0], np.concatenate(orders))
        order = pictures[0][1]
        tensors = [
            tensor
            if np.array_equal(order, other)
            else layout.with_order(graph, tensor, other[np.argsort(order)], node.name)
            for tensor, other in pictures
        ]
        ours = 1 if rank == 2 else axis - 1
        return context.result(
            graph.append(Concatenation(ours), tensors, node.name), values[0], order
        )
    shape = values[0].shape
    lead, rest = prod(shape[:axis]), prod(shape[axis + 1 :])
    flat = [
        layout.arranged(graph, value, value.index.reshape(lead, -1, rest), node.name)
        for value in values
    ]
    tensor = graph.append(Concatenation(1), flat, node.name)
    total = sum(value.shape[axis] for value in values)
    index = layout.standard((*shape[:axis], total, *shape[axis + 1 :]))
    return Value(tensor, index)


def _sliced(context: Context, node: OnnxNode, value: Value, parts: Sequence[slice]) -> Value:
    """A part of a value: a slice for each of its axes, with bounds from 0."""
    graph, shape = context.graph, value.shape
    if any(part.step < 1 for part in parts):
        raise node.error("backwards is not supported")
    if all(part == slice(0, size, 1) for part, size in zip(parts, shape)):
        return value
    if any(part.stop is None or part.stop <= part.start for part in parts):
        raise node.error("takes nothing")
    index = value.index[tuple(parts)]
    if value.index.ndim in (2, 3):
        tensor, order = context.picture(node, value)
        ours = graph.shapes[tensor]
        spatial = [slice(0, 1, 1), parts[1]] if value.index.ndim == 2 else list(parts[1:])
        chosen = order[parts[0]]
        channels: slice
        steps = np.diff(chosen)
        if len(chosen) > 1 and not (steps[0] > 0 and (steps == steps[0]).all()):
            tensor = layout.with_order(graph, tensor, chosen, node.name)
            channels = slice(0, graph.shapes[tensor][2], 1)
        else:
            step = int(steps[0]) if len(chosen) > 1 else 1
            channels = slice(int(chosen[0]), int(chosen[-1]) + 1, step)
        ours = graph.shapes[tensor]
        every = [*spatial, channels]
        if any(part != slice(0, size, 1) for part, size in zip(every, ours)):
            operator = Slice(
                tuple(part.start for part in every),
                tuple(part.stop for part in every),
                tuple(part.step for part in every),
            )
            tensor = graph.append(operator, [tensor], node.name)
        return context.result(tensor, value)
    if value.index.ndim == 1:
        steps = np.diff(index)
        if len(index) == 1 or (steps == 1).all():
            tensor = layout.reshaped(graph, value.tensor, (value.index.size,), node.name)
            begin = int(index[0])
            operator = Slice((begin,), (begin + len(index),), (1,))
            tensor = graph.append(operator, [tensor], node.name)
            return Value(tensor, layout.standard((len(index),)))
    # Any number of axes: one after the other, each as the middle of three.
    for axis, part in enumerate(parts):
        size = value.shape[axis]
        if part == slice(0, size, 1):
            continue
        lead, rest = prod(value.shape[:axis]), prod(value.shape[axis + 1 :])
        view = value.index.reshape(lead, size, rest)
        tensor = layout.arranged(graph, value, view, node.name)
        operator = Slice((0, part.start, 0), (lead, part.stop, rest), (1, part.step, 1))
        tensor = graph.append(operator, [tensor], node.name)
        count = graph.shapes[tensor][1]
        shape = (*value.shape[:axis], count, *value.shape[axis + 1 :])
        value = Value(tensor, layout.standard(shape))
    return value


def _slice(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = live(node, arguments)
    for place in range(1, len(arguments)):
        if isinstance(arguments[place], Value):
            raise node.error("its bounds must be constant")
    parts = slices(node, arguments, context.shape(value))
    if parts[0] != slice(0, context.batch, 1):
        raise node.error("touches the batch, which is not supported")
    return _sliced(context, node, value, parts[1:])


def _split(context: Context, node: OnnxNode, arguments: Arguments) -> list[Value]:
    value = live(node, arguments)
    rank = value.index.ndim
    axis = int(node.attributes.get("axis", 0))
    if not -rank <= axis <= rank or not axis:
        raise node.error(f"axis {axis} is not supported")
    axis = axis % (rank + 1) - 1
    size = value.shape[axis]
    count = len(node.outputs)
    sizes = node.attributes.get("split")
    if sizes is None and optional(arguments, 1) is not None:
        sizes = np.ravel(array(node, arguments, 1, "sizes")).tolist()
    if sizes is None:
        each = -(-size // count)
        sizes = [each] * (count - 1) + [size - each * (count - 1)]
    if sum(sizes) != size or min(sizes) < 1:
        raise node.error(f"{size} into {sizes}")
    results, start = [], 0
    for length in sizes:
        parts = [slice(0, each, 1) for each in value.shape]
        parts[axis] = slice(start, start + int(length), 1)
        results.append(_sliced(context, node, value, parts))
        start += int(length)
    return results


def _gather(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    """One place, or neighbours, along an axis."""
    value, chosen = live(node, arguments), array(node, arguments, 1, "indices")
    rank = value.index.ndim + 1
    axis = int(node.attributes.get("axis", 0)) % rank
    if axis == 0 or chosen.ndim > 1:
        raise node.error(f"axis {axis} with indices of shape {text(chosen.shape)}")
    size = value.shape[axis - 1]
    places = np.ravel(chosen).astype(np.int64) % size
    if len(places) > 1 and not (np.diff(places) == 1).all():
        raise node.error("of places that are no neighbours is not supported")
    parts = [slice(0, each, 1) for each in value.shape]
    parts[axis - 1] = slice(int(places[0]), int(places[-1]) + 1, 1)
    result = _sliced(context, node, value, parts)
    if chosen.ndim == 0:
        return Value(result.tensor, np.squeeze(result.index, axis - 1))
    return result


TRANSLATIONS: dict[str, Translation] = {
    "Cast": _identity,
    "Concat": _concatenation,
    "DequantizeLinear": _identity,
    "Dropout": _identity,
    "Flatten": _flatten,
    "Gather": _gather,
    "Identity": _identity,
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
