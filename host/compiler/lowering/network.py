"""A graph by what matters to the engine: functions of one byte, moves of bytes, and the rest.

However many operators a function of one byte was written with, ``x * sigmoid(x)`` or
``max(x, 0) + a * min(x, 0)``, it is one table. However many operators move bytes about, what comes
out is one :class:`Move`: for each element, of which tensor it is which element. Tensors between,
which nothing else reads, are not made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from model.int8 import reference
from model.int8.graph import Graph, Operator, OperatorKind
from model.int8.operators import OPERATORS
from model.int8.operators.padding import pad_value

from ..errors import CompileError

__all__ = ["Function", "Item", "Move", "Network", "Table", "analyse"]

Table = npt.NDArray[np.int8]
Indexes = npt.NDArray[np.int64]

#: Kinds that only say where bytes lie. RESHAPE stands for many: they all keep the order.
_MOVES = frozenset(
    kind
    for kind in OperatorKind
    if kind.value
    in (
        "RESHAPE",
        "SQUEEZE",
        "EXPAND_DIMS",
        "TRANSPOSE",
        "REVERSE_V2",
        "STRIDED_SLICE",
        "SLICE",
        "SPLIT",
        "SPLIT_V",
        "UNPACK",
        "CONCATENATION",
        "PACK",
        "DEPTH_TO_SPACE",
        "SPACE_TO_DEPTH",
        "RESIZE_NEAREST_NEIGHBOR",
        "PAD",
        "PADV2",
    )
)
#: Those that put several tensors together.
_JOINS = frozenset({OperatorKind.CONCATENATION, OperatorKind.PACK})
_CUTS = frozenset({OperatorKind.STRIDED_SLICE, OperatorKind.SLICE})
_PADS = frozenset({OperatorKind.PAD, OperatorKind.PADV2})
#: Codes below are bytes, less 128 to 127.
_FIRST = 1 << 10


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
    """

    name: str
    kinds: tuple[str, ...]
    operator: Operator
    reads: tuple[int, ...]
    target: int
    function: Function | None = None
    move: Move | None = None


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


def analyse(graph: Graph) -> Network:
    """Find the functions of one byte and the moves of ``graph``."""
    return _Analysis(graph).network()


class _Analysis:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.producers = {
            tensor: operator for operator in graph.operators for tensor in operator.outputs
        }
        self.moves: dict[int, Move] = {}
        self.origins: dict[int, int] = {}
        #: Tensors that must be made whatever functions and moves make of them.
        self.needed = set(graph.outputs)
        for operator in graph.operators:
            if not self._elementwise(operator) and operator.kind not in _MOVES:
                self.needed.update(self._activations(operator))

    def network(self) -> Network:
        items = []
        needed = set(self.graph.outputs)
        for operator in reversed(self.graph.operators):
            for target in reversed(operator.outputs):
                if target in needed:
                    item = self._item(operator, target)
                    items.append(item)
                    needed.update(item.reads)
        readers: dict[int, tuple[Item, ...]] = {}
        for item in reversed(items):
            for tensor in dict.fromkeys(item.reads):
                readers[tensor] = (*readers.get(tensor, ()), item)
        return Network(self.graph, tuple(reversed(items)), readers)

    def _item(self, operator: Operator, target: int) -> Item:
        kinds = (operator.kind.value,)
        if operator.kind in _MOVES:
            move = self._move(target)
            return Item(operator.name, kinds, operator, move.sources, target, move=move)
        if self._elementwise(operator):
            function = self._function(target)
            if function is not None:
                return Item(
                    operator.name,
                    function.kinds,
                    operator,
                    (function.source,),
                    target,
                    function=function,
                )
        return Item(operator.name, kinds, operator, self._activations(operator), target)

    def _activations(self, operator: Operator) -> tuple[int, ...]:
        return tuple(
            tensor
            for tensor in operator.inputs
            if tensor >= 0 and self.graph.tensors[tensor].data is None
        )

    # Functions of one byte

    def _elementwise(self, operator: Operator) -> bool:
        tensors = self.graph.tensors
        return (
            OPERATORS[operator.kind].elementwise
            and len(operator.outputs) == 1
            and tensors[operator.outputs[0]].dtype == "int8"
            and all(
                tensors[tensor].data is None or prod(tensors[tensor].shape) == 1
                for tensor in operator.inputs
            )
        )

    def _function(self, target: int) -> Function | None:
        """What ``target`` is of the nearest tensor that is made anyway, or else of any."""
        activations = self._activations(self.producers[target])
        found = {each if each in self.needed else self._origin(each) for each in activations}
        if len(found) > 1:
            found = {self._origin(target)}
        (source,) = found
        if source == target or self._size(source) != self._size(target):
            return None
        kinds: list[str] = []
        values = self._values(target, source, kinds)
        return Function(source, values, tuple(kinds))

    def _origin(self, tensor: int) -> int:
        """The tensor of one byte of which ``tensor`` is a function, as early as there is one."""
        if tensor not in self.origins:
            self.origins[tensor] = tensor
            operator = self.producers.get(tensor)
            if operator is not None and self._elementwise(operator):
                found = {self._origin(each) for each in self._activations(operator)}
                if len(found) == 1 and self._size(min(found)) == self._size(tensor):
                    self.origins[tensor] = found.pop()
        return self.origins[tensor]

    def _size(self, tensor: int) -> int:
        return prod(self.graph.tensors[tensor].shape)

    def _values(self, tensor: int, source: int, kinds: list[str]) -> Table:
        """The bytes of ``tensor`` for each byte of ``source``."""
        if tensor == source:
            return np.arange(-128, 128).astype(np.int8)
        operator = self.producers[tensor]
        inputs = []
        for each in operator.inputs:
            data = self.graph.tensors[each].data
            if data is not None:
                inputs.append(data.reshape(1, 1))
            else:
                inputs.append(self._values(each, source, kinds).reshape(256, 1))
        kinds.append(operator.kind.value)
        (result,) = reference.compute(self.graph, operator, inputs)
        values: Table = np.asarray(result).reshape(256).astype(np.int8)
        return values

    # Moves

    def _move(self, target: int) -> Move:
        """Of which made tensors ``target`` consists; a tensor that is made consists of itself."""
        if target not in self.moves:
            self.moves[target] = self._compose(target)
        return self.moves[target]

    def _compose(self, target: int) -> Move:
        operator = self.producers[target]
        # For each input, what its elements are; those that are joined are made first.
        sources: list[int] = []
        whiches: list[Indexes] = []
        indexes: list[Indexes] = []
        inputs: list[npt.NDArray[Any]] = []
        begin = _FIRST
        for position, tensor in enumerate(operator.inputs):
            value = self.graph.tensors[tensor] if tensor >= 0 else None
            if value is None or (value.data is not None and value.dtype != "int8"):
                data = None if value is None else value.data
                inputs.append(np.empty(0) if data is None else data[np.newaxis])
                continue
            shape = value.shape
            if value.data is not None:
                if position and operator.kind not in _JOINS:
                    inputs.append(value.data[np.newaxis])
                    continue
                which = np.full(shape, -1, np.int64)
                index = value.data.astype(np.int64)
            else:
                inner = self._inner(operator, tensor)
                places = []
                for source in inner.sources:
                    if source not in sources:
                        sources.append(source)
                    places.append(sources.index(source))
                of_source = np.array([*places, -1], np.int64)
                which = np.where(inner.which < 0, -1, of_source[inner.which])
                index = inner.index
            count = prod(shape)
            inputs.append(np.arange(begin, begin + count).reshape(1, *shape))
            whiches.append(which.ravel())
            indexes.append(index.ravel())
            begin += count
        outputs = reference.compute(self.graph, operator, inputs)
        codes = np.asarray(outputs[operator.outputs.index(target)], np.int64)
        codes = codes.reshape(self.graph.tensors[target].shape)
        moved = codes >= _FIRST
        chosen = np.where(moved, codes - _FIRST, 0)
        which = np.where(moved, np.concatenate(whiches)[chosen], -1)
        index = np.where(moved, np.concatenate(indexes)[chosen], codes)
        sizes = tuple(map(self._size, sources))
        return _without_unused(Move(tuple(sources), sizes, which, index))

    def _inner(self, operator: Operator, tensor: int) -> Move:
        """What an input of a move consists of: of itself, where it is better made."""
        producer = self.producers.get(tensor)
        if producer is not None and producer.kind in _MOVES:
            move = self._move(tensor)
            # What is put together is made, for its parts may be written side by side; so is what
            # has a border, but for those who cut some of it off or add more of the same.
            border = np.unique(move.index[move.which < 0])
            same = not len(border) or operator.kind in _CUTS
            if operator.kind in _PADS:
                same |= border.tolist() == [pad_value(self.graph, operator)]
            if len(move.sources) == 1 and same:
                return move
        shape = self.graph.tensors[tensor].shape
        index = np.arange(prod(shape)).reshape(shape)
        return Move((tensor,), (index.size,), np.zeros(shape, np.int64), index)


def _without_unused(move: Move) -> Move:
    used = [place for place in range(len(move.sources)) if bool((move.which == place).any())]
    if not used:
        raise CompileError("a tensor that is made of constants only is not supported")
    if len(used) == len(move.sources):
        return move
    places = np.full(len(move.sources) + 1, -1, np.int64)
    places[used] = np.arange(len(used))
    sources, sizes = (tuple(each[place] for place in used) for each in (move.sources, move.sizes))
    return Move(sources, sizes, places[move.which], move.index)
