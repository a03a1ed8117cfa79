"""Whose element is where: values of a channels-first source over tensors that are channels-last.

A source's value has its own shape and order; our tensor behind it has another. A `Value` joins
them: for each element of the source's value, without the batch, ``index`` has its place in our
tensor. Whatever only rearranges (a reshape, a transposition, a flattening, a squeeze) then
rearranges ``index`` and computes nothing; a dense layer permutes its weights by it; a convolution
asks for pictures, and gets them as they are, for the source's order (C, H, W) over our (H, W, C) is
what everything begins with. Only where an order is needed that is not there, data moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from model.errors import ModelError
from model.importing.float_graph import FloatGraph
from model.importing.float_operators import Convolution, Reshape, Shape, Transpose, Window

__all__ = ["Value", "arranged", "order_of", "pixels", "reshaped", "standard", "with_order"]


@dataclass(frozen=True, eq=False)
class Value:
    """A value of the source over one of our tensors.

    Attributes
    ----------
    tensor : int
        Number in the graph.
    index : ndarray of int
        Shape of the source's value, without the batch; each element of the tensor occurs once.
    """

    tensor: int
    index: np.ndarray

    @property
    def shape(self) -> Shape:
        """Shape of the source's value, without the batch."""
        return self.index.shape


def standard(shape: Shape) -> np.ndarray:
    """Index of a tensor's own order."""
    return np.arange(prod(shape), dtype=np.intp).reshape(shape)


def reshaped(graph: FloatGraph, tensor: int, shape: Shape, name: str) -> int:
    """The tensor under another shape, which it may have already."""
    if graph.shapes[tensor] == shape:
        return tensor
    return graph.append(Reshape(shape), [tensor], name)


def order_of(index: np.ndarray) -> np.ndarray | None:
    """Which channel of ours stands at each place of the last axis of `index`.

    None unless `index`, of shape (height, width, channels), is a picture of ours but for that.
    """
    channels = index.shape[2]
    order = index[0, 0]
    first = np.arange(index.shape[0] * index.shape[1]).reshape(*index.shape[:2], 1) * channels
    return order if np.array_equal(index, first + order) else None


def pixels(graph: FloatGraph, value: Value, index: np.ndarray, name: str) -> tuple[int, np.ndarray]:
    """A tensor of pictures, and the order of its channels.

    Parameters
    ----------
    graph : FloatGraph
        Gets what must be computed for it.
    value : Value
    index : ndarray, shape (height, width, channels)
        The value's index with its axes in that order.
    name : str
        For the nodes.

    Returns
    -------
    tensor : int
        Of that shape.
    order : ndarray of int, shape (channels,)
        Channel c of `index` is channel ``order[c]`` of the tensor.
    """
    order = order_of(index)
    if order is not None:
        return reshaped(graph, value.tensor, index.shape, name), order
    return arranged(graph, value, index, name), np.arange(index.shape[2])


def with_order(graph: FloatGraph, tensor: int, order: np.ndarray, name: str) -> int:
    """Pictures whose channel c is channel ``order[c]`` of `tensor`: a choice, or another order."""
    channels = graph.shapes[tensor][2]
    if np.array_equal(order, np.arange(channels)):
        return tensor
    weights = np.zeros((1, 1, channels, len(order)))
    weights[0, 0, order, np.arange(len(order))] = 1
    operator = Convolution(weights, np.zeros(len(order)), Window((1, 1)))
    return graph.append(operator, [tensor], name)


def arranged(graph: FloatGraph, value: Value, index: np.ndarray, name: str) -> int:
    """A tensor whose elements, one after the other, are those that `index` names.

    Parameters
    ----------
    graph : FloatGraph
    value : Value
    index : ndarray of int
        The value's index in the shape and order that is wanted.
    name : str

    Raises
    ------
    ModelError
        If no transposition does it.
    """
    shape = index.shape
    if np.array_equal(index.ravel(), np.arange(index.size)):
        return reshaped(graph, value.tensor, shape, name)
    if index.ndim == 3 and (order := order_of(index)) is not None:
        tensor = reshaped(graph, value.tensor, shape, name)
        return with_order(graph, tensor, order, name)
    axes = _strides(index)
    if axes is None:
        raise ModelError("needs its input in an order that no transposition gives")
    # From our order, the longest stride first, to the order wanted.
    sizes = [size for size, _ in axes]
    ours = sorted(range(len(axes)), key=lambda axis: -axes[axis][1])
    tensor = reshaped(graph, value.tensor, tuple(sizes[axis] for axis in ours), name)
    operator = Transpose(tuple(ours.index(axis) for axis in range(len(axes))))
    tensor = graph.append(operator, [tensor], name)
    return reshaped(graph, tensor, shape, name)


def _strides(index: np.ndarray) -> list[tuple[int, int]] | None:
    """Axes, as size and stride, that count through `index`; None if strides do not do.

    The shape of `index` says nothing: a vector that was a picture has the picture's axes.
    """
    axes: list[tuple[int, int]] = []
    rest = index.ravel()
    expected = np.zeros(1, np.intp)
    while len(rest) > 1:
        stride = int(rest[1] - rest[0])
        breaks = np.flatnonzero(np.diff(rest) != stride)
        size = int(breaks[0]) + 1 if len(breaks) else len(rest)
        if stride < 1 or len(rest) % size:
            return None
        axes.insert(0, (size, stride))
        expected = np.add.outer(np.arange(size) * stride, expected).ravel()
        rest = rest[::size]
    return axes if np.array_equal(expected, index.ravel()) else None
