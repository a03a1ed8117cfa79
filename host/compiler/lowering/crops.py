"""Moves that only cut a picture or put a border around it, and who can read through them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.int8 import reference
from model.int8.graph import Graph, OperatorKind
from model.int8.operators.window import Window

from .network import Item, Move, Network
from .plan import Border, picture_shape

__all__ = ["Crop", "crop", "reads_through"]


@dataclass(frozen=True)
class Crop:
    """``target[y, x] = source[y - top, x - left]``, or a constant where there is no such pixel.

    Attributes
    ----------
    source : int
    border : Border
        Its numbers are negative where rows above or columns to the left are cut off.
    bordered : bool
        Whether there is any pixel that is not the source's.
    below, right : int
        Rows and columns of the source that lie behind the target's last ones.
    """

    source: int
    border: Border
    bordered: bool
    below: int
    right: int


def crop(graph: Graph, move: Move, target: int) -> Crop | None:
    """``move`` as a crop of a picture; None if it is something else, or only a new shape."""
    if len(move.sources) != 1 or move.keeps_order:
        return None
    (source,) = move.sources
    height, width, channels = picture_shape(graph, target)
    rows, columns, source_channels = picture_shape(graph, source)
    if channels != source_channels:
        return None
    which = move.which.reshape(height, width, channels)
    index = move.index.reshape(height, width, channels)
    inside = which[:, :, 0] == 0
    if not inside.any():
        return None
    y, x = np.argwhere(inside)[0]
    first = int(index[y, x, 0])
    top, left = int(y) - first // (columns * channels), int(x) - first // channels % columns
    ys, xs = np.arange(height) - top, np.arange(width) - left
    rows_inside, columns_inside = (ys >= 0) & (ys < rows), (xs >= 0) & (xs < columns)
    expected = np.add.outer(ys * columns, xs)[:, :, np.newaxis] * channels + np.arange(channels)
    where = np.logical_and.outer(rows_inside, columns_inside)
    if not (which == np.where(where, 0, -1)[:, :, np.newaxis]).all():
        return None
    if not (index[where] == expected[where]).all():
        return None
    values = np.unique(index[~where])
    if len(values) > 1:
        return None
    value = int(values[0]) if len(values) else 0
    return Crop(
        source,
        Border(top, left, value),
        bool(len(values)),
        max(0, rows - height + top),
        max(0, columns - width + left),
    )


def reads_through(network: Network, target: int, cut: Crop) -> bool:
    """Whether all that read a crop's result can read its source instead, with the same bytes."""
    graph = network.graph
    readers = network.readers.get(target, ())

    def can(reader: Item) -> bool:
        if reader.function is not None or reader.move is not None:
            return False
        if reader.reads != (target,):
            return False
        if reader.operator.kind not in (
            OperatorKind.CONV_2D,
            OperatorKind.DEPTHWISE_CONV_2D,
            OperatorKind.MAX_POOL_2D,
            OperatorKind.AVERAGE_POOL_2D,
        ):
            return False
        window = reference.window(graph, reader.operator)
        weighted = reader.operator.kind in (OperatorKind.CONV_2D, OperatorKind.DEPTHWISE_CONV_2D)
        if hangs_over(window):
            # Their own padding is of another value, or in its place there are pixels.
            quantization = graph.tensors[target].quantization
            own = None if quantization is None else int(quantization.zero_point[0])
            if not weighted or (cut.bordered and own != cut.border.value):
                return False
            for beyond, there in (
                (window.top, max(0, -cut.border.top)),
                (window.left, max(0, -cut.border.left)),
                (window.bottom, cut.below),
                (window.right, cut.right),
            ):
                if beyond and there:
                    return False
        return True

    return bool(readers) and target not in graph.kept and all(map(can, readers))


def hangs_over(window: Window) -> bool:
    """Whether the window reads beyond the picture's edges."""
    return any((window.top, window.left, window.bottom, window.right))
