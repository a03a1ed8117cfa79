"""Find what of a graph is a function of one byte, and what only moves bytes."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from model.int8 import reference
from model.int8.graph import Graph, Operator, OperatorKind, Tensor
from model.int8.operators import OPERATORS
from model.int8.operators.padding import pad_value
from model.int8.operators.reduction import reduced_axes

from ..errors import CompileError
from .network import Function, Indexes, Item, Move, Network, Table
from .pairs import PAIRS, complement, expand
from .plan import REDUCTIONS

__all__ = ["analyse"]

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


def analyse(graph: Graph) -> Network:
    """Find the functions of one byte and the moves of ``graph``."""
    return _Analysis(graph).network()


class _Analysis:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.tensors = list(graph.tensors)
        self.producers = {
            tensor: operator for operator in graph.operators for tensor in operator.outputs
        }
        self.moves: dict[int, Move] = {}
        self.origins: dict[int, int] = {}
        self.reductions: dict[int, tuple[Operator, Move]] = {}
        #: Tensors that must be made whatever functions and moves make of them.
        self.needed = set(graph.kept)
        for operator in graph.operators:
            if not self._elementwise(operator) and operator.kind not in _MOVES:
                self.needed.update(self._activations(operator))

    def network(self) -> Network:
        items = []
        needed = set(self.graph.kept)
        for operator in reversed(self.graph.operators):
            for target in reversed(operator.outputs):
                made = self.reductions[target][0].outputs if target in self.reductions else ()
                if target in needed or needed.intersection(made):
                    for item in reversed(self._items(operator, target)):
                        if item.target in needed or target in needed:
                            items.append(item)
                            needed.update(item.reads)
        readers: dict[int, tuple[Item, ...]] = {}
        for item in reversed(items):
            for tensor in dict.fromkeys(item.reads):
                readers[tensor] = (*readers.get(tensor, ()), item)
        graph = replace(self.graph, tensors=tuple(self.tensors))
        return Network(graph, tuple(reversed(items)), readers)

    def _items(self, operator: Operator, target: int) -> list[Item]:
        kinds = (operator.kind.value,)
        if operator.kind in _MOVES:
            move = self._move(target)
            return [Item(operator.name, kinds, operator, move.sources, target, move=move)]
        if self._elementwise(operator):
            function = self._function(target)
            if function is not None:
                return [
                    Item(
                        operator.name,
                        function.kinds,
                        operator,
                        (function.source,),
                        target,
                        function=function,
                    )
                ]
        if operator.kind is OperatorKind.REDUCE_MIN:
            return self._least(operator, target)
        if operator.kind in REDUCTIONS:
            inner, move = self._reduction(target)
            return [
                Item(operator.name, kinds, inner, inner.inputs[:1], inner.outputs[0]),
                Item(operator.name, kinds, operator, move.sources, target, move=move),
            ]
        if operator.kind in PAIRS:
            return expand(self.graph, operator, target, self._new)
        return [Item(operator.name, kinds, operator, self._activations(operator), target)]

    def _new(self, tensor: Tensor) -> int:
        """Number of a tensor that only the compiler knows."""
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def _activations(self, operator: Operator) -> tuple[int, ...]:
        return tuple(
            tensor
            for tensor in operator.inputs
            if tensor >= 0 and self.graph.tensors[tensor].data is None
        )

    # Reductions

    def _least(self, operator: Operator, target: int) -> list[Item]:
        """The complement of the greatest complement."""
        source, *axes = operator.inputs
        other, greatest = (
            self._new(replace(self.graph.tensors[tensor], name=f"{operator.name} complement"))
            for tensor in (source, target)
        )
        greater = replace(
            operator,
            kind=OperatorKind.REDUCE_MAX,
            inputs=(other, *axes),
            outputs=(greatest,),
        )
        return [
            Item(operator.name, ("COMPLEMENT",), operator, (source,), other, complement(source)),
            Item(operator.name, ("REDUCE_MIN",), greater, (other,), greatest),
            Item(
                operator.name, ("COMPLEMENT",), operator, (greatest,), target, complement(greatest)
            ),
        ]

    def _reduction(self, target: int) -> tuple[Operator, Move]:
        """A reduction that keeps its dimensions, and how its result is moved to ``target``.

        A reduction of what was moved is one of the source, moved.
        """
        if target not in self.reductions:
            self.reductions[target] = self._reduced(self.producers[target], target)
        return self.reductions[target]

    def _reduced(self, operator: Operator, target: int) -> tuple[Operator, Move]:
        source = operator.inputs[0]
        shape = self.graph.tensors[source].shape
        index = np.arange(prod(shape)).reshape(shape)
        move = self._moved(source)
        if (
            move is not None
            and len(move.sources) == 1
            and move.index.size == move.sizes[0]
            and not (move.which < 0).any()
            and _matching_axes(move.index, self._shape(move.sources[0])) is not None
        ):
            (source,), index = move.sources, move.index
        shape = self._shape(source)
        axes = _matching_axes(index, shape)
        assert axes is not None
        reduced = reduced_axes(self.graph, operator)
        gone = {axes[axis] for axis in reduced if axis in axes}
        kept = tuple(1 if axis in gone else size for axis, size in enumerate(shape))
        output = self.graph.tensors[target]
        constant = np.array(sorted(gone), np.int32)
        made = self._new(replace(output, name=f"{operator.name} in place", shape=kept))
        where = self._new(Tensor(f"{operator.name} axes", constant.shape, "int32", data=constant))
        inner = replace(operator, inputs=(source, where), outputs=(made,))
        # Each element of the result stands for those of the source of which it is reduced.
        for axis in reduced:
            index = np.take(index, [0], axis=axis)
        places = np.unravel_index(index.reshape(output.shape), shape)
        strides = np.cumprod((1, *kept[:0:-1]))[::-1]
        where_made = np.zeros(output.shape, np.int64)
        for axis, (place, stride) in enumerate(zip(places, strides)):
            if axis not in gone:
                where_made += place * stride
        which = np.zeros(output.shape, np.int64)
        return inner, Move((made,), (where_made.size,), which, where_made)

    def _shape(self, tensor: int) -> tuple[int, ...]:
        return self.tensors[tensor].shape

    def _moved(self, tensor: int) -> Move | None:
        """Of what ``tensor`` was moved from; None if it was not."""
        producer = self.producers.get(tensor)
        if producer is None or tensor in self.graph.kept:
            return None
        if producer.kind in _MOVES:
            return self._move(tensor)
        if producer.kind in REDUCTIONS:
            return self._reduction(tensor)[1]
        return None

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


def _matching_axes(index: Indexes, shape: tuple[int, ...]) -> dict[int, int] | None:
    """For each dimension of more than one element, the source's that runs along it."""
    strides = np.cumprod((1, *shape[:0:-1]))[::-1].tolist()
    found = {}
    for axis, size in enumerate(index.shape):
        if size == 1:
            continue
        step = np.diff(index, axis=axis)
        stride = int(step.flat[0])
        matching = [a for a, s in enumerate(strides) if s == stride and shape[a] == size]
        if not (step == stride).all() or len(matching) != 1:
            return None
        found[axis] = matching[0]
    return found if len(set(found.values())) == len(found) else None


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
