"""What the passes of lowering hand on: steps, and where their tensors lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from gateware.interface.configuration import EngineConfiguration
from model.int8 import reference
from model.int8.graph import Graph, Operator, OperatorKind
from model.int8.operators.reduction import reduced_axes

from ..errors import CompileError
from ..layers import IntArray, Layer, View
from .network import Lines, Move, Network, Table

Shape = tuple[int, int, int]

CHANNEL_WISE = (
    OperatorKind.MAX_POOL_2D,
    OperatorKind.AVERAGE_POOL_2D,
    OperatorKind.DEPTHWISE_CONV_2D,
    OperatorKind.MEAN,
    OperatorKind.SUM,
    OperatorKind.REDUCE_MAX,
)
REDUCTIONS = (OperatorKind.MEAN, OperatorKind.SUM, OperatorKind.REDUCE_MAX)
#: Kinds that know rows from columns.
SPATIAL = (
    OperatorKind.CONV_2D,
    OperatorKind.MAX_POOL_2D,
    OperatorKind.AVERAGE_POOL_2D,
    OperatorKind.DEPTHWISE_CONV_2D,
)
#: Kinds that are no function of one byte.
ENGINE = (
    OperatorKind.CONV_2D,
    OperatorKind.FULLY_CONNECTED,
    *CHANNEL_WISE,
)
#: Kinds that the epilogue of another layer does.
SUMS = (OperatorKind.ADD, OperatorKind.SUB)


@dataclass(frozen=True, eq=False)
class Lowered:
    """A graph as the engine will run it.

    Attributes
    ----------
    layers : tuple of Layer
    storage : dict of int to View
        Every tensor that is kept in memory, by its index.
    results : mapping of int to View
        For each :attr:`.Layer.result` where it lies, which may be a part of a stored tensor.
    inputs : tuple of int
        Tensors in memory that the host writes.
    variables : mapping of int to View
        Where each variable lies, which may be a part of a stored tensor.
    outputs : mapping of int to int
        For each output of the graph the tensor in memory that has its bytes, maybe in another
        shape.
    margin : tuple of int
        Pixels of padding to the left and the right of the only input's rows that the host writes
        too.
    partial : frozenset of int
        Of :attr:`results` those of which memory never holds more than a band of rows.
    """

    layers: tuple[Layer, ...]
    storage: Mapping[int, View]
    results: Mapping[int, View]
    inputs: tuple[int, ...]
    outputs: Mapping[int, int]
    margin: tuple[int, int] = (0, 0)
    partial: frozenset[int] = frozenset()
    variables: Mapping[int, View] = field(default_factory=dict)


@dataclass(frozen=True)
class Border:
    """What moves that were folded into a step put around its input, or cut off.

    Attributes
    ----------
    top, left : int
        Rows above and columns to the left; negative if they are cut off.
    value : int
        The bytes: the zero point of the tensor that the PAD makes.
    """

    top: int
    left: int
    value: int


@dataclass(frozen=True)
class Region:
    """Where in ``tensor`` another one lies: from that row, column and channel on."""

    tensor: int
    row: int
    column: int
    channel: int


@dataclass(frozen=True, eq=False)
class Sum:
    """An ADD behind a step: what that gives, input number ``made``, is added to the other input.

    The sum takes the other's place in memory.
    """

    operator: Operator
    made: int


@dataclass(frozen=True, eq=False)
class Step:
    """An operator that becomes a layer, with the tables, or the ADD, fused behind it.

    Attributes
    ----------
    name : str
    operator : Operator or None
        None for a step that only copies, moves or looks up bytes.
    kinds : tuple of str
        All that it computes, for people.
    source, target : int
        Tensors.
    table : ndarray of int8 or None
        What becomes of the result.
    border : Border or None
    sum : Sum or None
    pooled : bool
        Whether it has a 2x2 MAX_POOL_2D behind it.
    move : Move or None
        What it makes of which tensors' bytes.
    lines : Lines or None
        What it makes of each byte.
    pair : tuple of int, or None
        The two tensors that it multiplies, or of which it takes the greater.
    gather : ndarray of int64 or None
        For each value that a dense layer takes, the element of its input.
    wide : bool
        Whether its sums take two passes (:mod:`..wide`), of which the second needs the epilogue's
        addition.
    """

    name: str
    operator: Operator | None
    kinds: tuple[str, ...]
    source: int
    target: int
    table: Table | None = None
    border: Border | None = None
    sum: Sum | None = None
    pooled: bool = False
    wide: bool = False
    move: Move | None = None
    lines: Lines | None = None
    pair: tuple[int, int] | None = None
    gather: IntArray | None = None

    @property
    def reads(self) -> tuple[int, ...]:
        """The tensors that it reads."""
        if self.move is not None:
            return self.move.sources
        if self.pair is not None:
            return self.pair
        if self.operator is None or self.operator.kind not in SUMS:
            return (self.source,)
        return self.operator.inputs[:2]

    @property
    def kind(self) -> OperatorKind | None:
        return self.operator.kind if self.operator else None


@dataclass(frozen=True, eq=False)
class Plan:
    """Steps in running order, and whose bytes are whose.

    Attributes
    ----------
    network : Network
    configuration : EngineConfiguration
    steps : tuple of Step
    reshaped : mapping of int to int
        Tensors that have the bytes of another one, which is not in here itself.
    regions : mapping of int to Region
        Tensors that lie within another one.
    places : mapping of int to int
        Sums, and the tensor in whose memory they lie.
    copies : tuple of int
        What the tensors that only the compiler knows are copies of; their indexes follow the
        graph's.
    answers : mapping of int to int
        Outputs of the graph that are read from a copy.
    """

    network: Network
    configuration: EngineConfiguration
    steps: tuple[Step, ...] = ()
    reshaped: Mapping[int, int] = field(default_factory=dict)
    regions: Mapping[int, Region] = field(default_factory=dict)
    places: Mapping[int, int] = field(default_factory=dict)
    copies: tuple[int, ...] = ()
    answers: Mapping[int, int] = field(default_factory=dict)

    @property
    def graph(self) -> Graph:
        return self.network.graph

    def value(self, tensor: int) -> int:
        """The tensor of which ``tensor`` has the bytes: before it was reshaped."""
        return self.reshaped.get(tensor, tensor)

    def root(self, tensor: int) -> int:
        """The tensor in whose memory ``tensor`` lies."""
        value = self.value(tensor)
        if value in self.regions:
            return self.regions[value].tensor
        return self.places.get(value, value)

    def shape(self, tensor: int) -> Shape:
        """(height, width, channels), also of a copy."""
        known = len(self.graph.tensors)
        return picture_shape(self.graph, self.copies[tensor - known] if tensor >= known else tensor)

    def name(self, tensor: int) -> str:
        return self.graph.tensors[tensor].name

    def only_use(self, tensor: int) -> bool:
        """Whether one item alone reads ``tensor``."""
        readers = self.network.readers.get(tensor, ())
        return len(readers) == 1 and tensor not in self.graph.kept

    def is_read(self, value: int, steps: Iterable[Step]) -> bool:
        """Whether any of ``steps`` reads the bytes of ``value``."""
        read = {self.value(tensor) for step in steps for tensor in step.reads}
        return value in read or (value in self.regions and self.regions[value].tensor in read)

    def maker(self, tensor: int) -> int | None:
        """Index of the step that makes ``tensor``."""
        return next((i for i, step in enumerate(self.steps) if step.target == tensor), None)

    def zero_point(self, tensor: int) -> int:
        quantization = self.graph.tensors[tensor].quantization
        if quantization is None:
            raise CompileError(f"tensor {self.name(tensor)}: no quantisation")
        return int(quantization.zero_point[0])

    # Plans that differ from this one.

    def with_step(self, step: Step) -> Plan:
        """With ``step`` behind the others."""
        return replace(self, steps=(*self.steps, step))

    def instead(self, index: int, step: Step) -> Plan:
        """With ``step`` in the place of step number ``index``."""
        return replace(self, steps=(*self.steps[:index], step, *self.steps[index + 1 :]))

    def with_copy(self, tensor: int, before: int | None = None) -> tuple[Plan, int]:
        """With a step that copies ``tensor``, before step number ``before`` or behind all.

        Returns
        -------
        Plan
        int
            The copy.
        """
        copy = len(self.graph.tensors) + len(self.copies)
        step = Step(f"copy of {self.name(tensor)}", None, ("COPY",), tensor, copy)
        at = len(self.steps) if before is None else before
        steps = (*self.steps[:at], step, *self.steps[at:])
        return replace(self, steps=steps, copies=(*self.copies, tensor)), copy


def picture_shape(graph: Graph, tensor: int) -> Shape:
    """(height, width, channels) of a tensor.

    Channels are its last dimension and columns the one before; all others are rows.
    """
    shape = (1, 1, *graph.tensors[tensor].shape)
    return prod(shape[:-2]), shape[-2], shape[-1]


def reduced(graph: Graph, operator: Operator) -> tuple[bool, bool, bool]:
    """Whether a reduction is over the rows, the columns, the channels of its input.

    Raises
    ------
    CompileError
        If it is over some of the dimensions that are rows to the engine, and not over others.
    """
    shape = graph.tensors[operator.inputs[0]].shape
    axes = {axis for axis in reduced_axes(graph, operator) if shape[axis] > 1}
    rows = {axis for axis, size in enumerate(shape[:-2]) if size > 1}
    if axes & rows and not rows <= axes:
        raise CompileError(
            f"layer {operator.name}: reduces some of the dimensions before the last two, and not "
            f"others"
        )
    rank = len(shape)
    return bool(axes & rows), rank - 2 in axes, rank - 1 in axes


def clamp(graph: Graph, operator: Operator) -> tuple[int, int]:
    """A pool's fused activation: what the reference makes of the two extreme pictures."""
    alone = replace(
        graph,
        operators=(operator,),
        inputs=operator.inputs[:1],
        outputs=operator.outputs,
    )
    extremes = np.stack([np.full(alone.input.shape[1:], v, np.int8) for v in (-128, 127)])
    darkest, brightest = reference.predict(alone, extremes)
    return int(darkest.flat[0]), int(brightest.flat[0])
