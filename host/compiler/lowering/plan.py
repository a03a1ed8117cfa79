"""What the passes of lowering hand on: steps, and where their tensors lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from gateware.interface.configuration import EngineConfiguration
from model.int8 import reference
from model.int8.graph import Graph, Operator, OperatorKind

from ..errors import CompileError
from ..layers import Layer, View

Table = npt.NDArray[np.int8]
Shape = tuple[int, int, int]

CHANNEL_WISE = (
    OperatorKind.MAX_POOL_2D,
    OperatorKind.AVERAGE_POOL_2D,
    OperatorKind.DEPTHWISE_CONV_2D,
    OperatorKind.MEAN,
    OperatorKind.PAD,
)
#: Kinds that are no function of one byte.
ENGINE = (
    OperatorKind.CONV_2D,
    OperatorKind.FULLY_CONNECTED,
    OperatorKind.ADD,
    *CHANNEL_WISE,
)


@dataclass(frozen=True, eq=False)
class Lowered:
    """A graph as the engine will run it.

    Attributes
    ----------
    layers : tuple of Layer
    storage : dict of int to View
        Every tensor that is kept in memory, by its index.
    inputs : tuple of int
        Tensors in memory that the host writes.
    outputs : mapping of int to int
        For each output of the graph the tensor in memory that has its bytes, maybe in another
        shape.
    margin : tuple of int
        Pixels of padding to the left and the right of the only input's rows that the host writes
        too.
    """

    layers: tuple[Layer, ...]
    storage: Mapping[int, View]
    inputs: tuple[int, ...]
    outputs: Mapping[int, int]
    margin: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Border:
    """What PADs that were folded into a step put around its input.

    Attributes
    ----------
    top, left : int
        Rows above and columns to the left.
    value : int
        The bytes: the zero point of the tensor that the PAD makes.
    """

    top: int
    left: int
    value: int


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
        None for a step that only copies.
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

    @property
    def reads(self) -> tuple[int, ...]:
        """The tensors that it reads."""
        if self.operator is None or self.operator.kind is not OperatorKind.ADD:
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
    graph : Graph
    configuration : EngineConfiguration
    steps : tuple of Step
    reshaped : mapping of int to int
        Tensors that have the bytes of another one, which is not in here itself.
    places : mapping of int to int
        Sums, and the tensor in whose memory they lie.
    copies : tuple of int
        What the tensors that only the compiler knows are copies of; their indexes follow the
        graph's.
    """

    graph: Graph
    configuration: EngineConfiguration
    steps: tuple[Step, ...] = ()
    reshaped: Mapping[int, int] = field(default_factory=dict)
    places: Mapping[int, int] = field(default_factory=dict)
    copies: tuple[int, ...] = ()

    def value(self, tensor: int) -> int:
        """The tensor of which ``tensor`` has the bytes: before it was reshaped."""
        return self.reshaped.get(tensor, tensor)

    def root(self, tensor: int) -> int:
        """The tensor in whose memory ``tensor`` lies."""
        value = self.value(tensor)
        return self.places.get(value, value)

    def shape(self, tensor: int) -> Shape:
        """(height, width, channels), also of a copy."""
        known = len(self.graph.tensors)
        return picture_shape(self.graph, self.copies[tensor - known] if tensor >= known else tensor)

    def name(self, tensor: int) -> str:
        return self.graph.tensors[tensor].name

    def only_use(self, tensor: int) -> bool:
        """Whether one operator alone reads ``tensor``."""
        return len(self.graph.consumers(tensor)) == 1 and tensor not in self.graph.outputs

    def is_read(self, value: int, steps: Iterable[Step]) -> bool:
        """Whether any of ``steps`` reads the bytes of ``value``."""
        return any(self.value(tensor) == value for step in steps for tensor in step.reads)

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
    """(height, width, channels) of a tensor; the dimensions it has not are 1.

    Raises
    ------
    CompileError
        If it has a batch or more dimensions than a picture.
    """
    shape = graph.tensors[tensor].shape
    batch, rest = (shape[0], shape[1:]) if len(shape) > 1 else (1, shape)
    if batch != 1 or len(rest) > 3 or 0 in rest:
        text = "x".join(map(str, shape))
        raise CompileError(
            f"tensor {graph.tensors[tensor].name}: has shape {text}, the engine takes one picture "
            f"of height, width and channels at a time"
        )
    height, width, channels = (1,) * (3 - len(rest)) + tuple(rest)
    return height, width, channels


def padding(graph: Graph, operator: Operator) -> npt.NDArray[np.int64]:
    """A PAD's rows, columns and channels before and behind: shape (3, 2).

    Raises
    ------
    CompileError
        If they are not constant, or channels are padded.
    """
    data = graph.tensors[operator.inputs[1]].data
    if data is None:
        raise CompileError(f"layer {operator.name}: its padding must be a constant")
    result = np.zeros((3, 2), np.int64)
    picture_shape(graph, operator.inputs[0])
    axes = data.astype(np.int64)[1:]
    result[3 - len(axes) :] = axes
    if result[2].any():
        raise CompileError(
            f"layer {operator.name}: pads channels; only rows and columns can be padded"
        )
    return result


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


def hangs_over(window: reference.Window) -> bool:
    """Whether the window reads beyond the picture's edges."""
    return any((window.top, window.left, window.bottom, window.right))
