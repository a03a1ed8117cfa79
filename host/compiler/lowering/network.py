"""A graph by what matters to the engine: functions of one byte, moves of bytes, and the rest.

However many operators a function of one byte was written with, ``x * sigmoid(x)`` or
``max(x, 0) + a * min(x, 0)``, it is one table. However many operators move bytes about, what comes
out is one :class:`Move`: for each element, of which tensor it is which element. Tensors between,
which nothing else reads, are not made. :mod:`.analysis` finds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from model.int8.graph import Graph, Operator, OperatorKind

__all__ = ["Function", "Indexes", "Item", "Lines", "Move", "Network", "Table"]

Table = npt.NDArray[np.int8]
Indexes = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Function:
    """A tensor each of whose bytes is a function of the same byte of another one."""

    source: int
    table: Table
    kinds: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Move:
    """A tensor made of other tensors' bytes.

    Attributes
    ----------
    sources : tuple of int
        Tensors.
    sizes : tuple of int
        Elements of each.
    which : ndarray of int64, of the tensor's shape
        For each element the place of its source in ``sources``; -1 for a constant.
    index : ndarray of int64, of the tensor's shape
        The element of the source, counted through; or the constant byte.
    """

    sources: tuple[int, ...]
    sizes: tuple[int, ...]
    which: Indexes
    index: Indexes

    @cached_property
    def keeps_order(self) -> bool:
        """Whether it is one tensor in another shape."""
        count = self.index.size
        return (
            self.sizes == (count,)
            and not self.which.any()
            and bool((self.index.ravel() == np.arange(count)).all())
        )


@dataclass(frozen=True, eq=False)
class Lines:
    """``clamp(scale(weight * x + bias) + zero_point)`` of each byte, with a line a channel.

    Attributes
    ----------
    weight, bias, multiplier, shift : ndarray of int64, shape (channels,)
        As :class:`..layers.Epilogue` has them.
    zero_point, minimum, maximum : int
    """

    weight: Indexes
    bias: Indexes
    multiplier: Indexes
    shift: Indexes
    zero_point: int
    minimum: int
    maximum: int


@dataclass(frozen=True, eq=False)
class Item:
    """An operator, a function of one byte, or a move, whose result something needs.

    Attributes
    ----------
    name : str
    kinds : tuple of str
    operator : Operator
        The last one, if there are several.
    reads : tuple of int
        Tensors that are no constants.
    target : int
    function : Function or None
    move : Move or None
    lines : Lines or None
    pair : OperatorKind or None
        MUL or MAXIMUM of both tensors that it reads, which are of one shape.
    """

    name: str
    kinds: tuple[str, ...]
    operator: Operator
    reads: tuple[int, ...]
    target: int
    function: Function | None = None
    move: Move | None = None
    lines: Lines | None = None
    pair: OperatorKind | None = None


@dataclass(frozen=True, eq=False)
class Network:
    """Items in running order.

    Attributes
    ----------
    graph : Graph
    items : tuple of Item
    readers : mapping of int to tuple of Item
        By tensor.
    movers : mapping of int to Item
        The moves, by what they make.
    """

    graph: Graph
    items: tuple[Item, ...]
    readers: Mapping[int, tuple[Item, ...]]

    @cached_property
    def movers(self) -> Mapping[int, Item]:
        return {item.target: item for item in self.items if item.move is not None}
