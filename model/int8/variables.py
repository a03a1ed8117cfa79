"""State as files have it: VAR_HANDLE, READ_VARIABLE, ASSIGN_VARIABLE, CALL_ONCE.

A file names each variable by a resource, reads and assigns it in the midst of the network, and
gives it its first value in a second subgraph, which CALL_ONCE runs before anything else. Here that
becomes :attr:`.Graph.variables`: what a run finds, and what it leaves.

A variable that no subgraph gives a value begins with its zero point, as in TFLM
(``micro/micro_resource_variable.cc``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import tflite

from model.errors import ModelError
from model.int8.graph import Graph, Operator, OperatorKind, Options, Tensor, Variable
from model.int8.operators.examined import LayerError

__all__ = [
    "KINDS",
    "RESOURCE",
    "HandleOptions",
    "OnceOptions",
    "as_in_files",
    "initial_values",
    "state_options",
    "with_state",
]

KINDS = frozenset(
    {
        OperatorKind.VAR_HANDLE,
        OperatorKind.READ_VARIABLE,
        OperatorKind.ASSIGN_VARIABLE,
        OperatorKind.CALL_ONCE,
    }
)
"""Kinds that a file has and a graph has not."""

RESOURCE = "resource"
"""Type of the tensor by which a file names a variable."""

_HANDLE, _READ, _ASSIGN = (
    OperatorKind.VAR_HANDLE,
    OperatorKind.READ_VARIABLE,
    OperatorKind.ASSIGN_VARIABLE,
)
_MAX_NAME = 200
_MAX_ELEMENTS = 1 << 24


@dataclass(frozen=True)
class HandleOptions(Options):
    """Of VAR_HANDLE: which variable."""

    name: str


@dataclass(frozen=True)
class OnceOptions(Options):
    """Of CALL_ONCE: the number of the subgraph with the first values."""

    subgraph: int


def state_options(kind: OperatorKind, operator: Any) -> Options | None:
    """The options of an operator of :data:`KINDS`, as the schema's reader has it."""
    raw = operator.BuiltinOptions()
    if kind is OperatorKind.VAR_HANDLE:
        handle = tflite.VarHandleOptions()
        if raw is None:
            return HandleOptions("")
        handle.Init(raw.Bytes, raw.Pos)
        parts = (handle.Container() or b"", handle.SharedName() or b"")
        text = "/".join(each[:_MAX_NAME].decode("utf-8", "replace") for each in parts if each)
        return HandleOptions("".join(c if c.isprintable() else "?" for c in text))
    if kind is OperatorKind.CALL_ONCE:
        once = tflite.CallOnceOptions()
        if raw is None:
            return OnceOptions(0)
        once.Init(raw.Bytes, raw.Pos)
        return OnceOptions(once.InitSubgraphIndex())
    return None


def initial_values(graph: Graph, layer: str) -> dict[str, np.ndarray]:
    """First values by variable, from CALL_ONCE's subgraph, its constants folded.

    Raises
    ------
    LayerError
        In the name of `layer`, if the subgraph does anything else.
    """
    handles: dict[int, str] = {}
    values = {}
    for operator in graph.operators:
        if operator.kind is OperatorKind.VAR_HANDLE:
            handles |= {index: _name(operator) for index in operator.outputs}
        elif operator.kind is OperatorKind.ASSIGN_VARIABLE:
            name, source = _assignment(operator, handles)
            data = graph.tensors[source].data
            if data is None:
                raise LayerError(layer, f"the first value of {name} is no constant")
            values[name] = data
        else:
            raise LayerError(layer, f"its subgraph has {operator.kind.value}")
    return values


def with_state(graph: Graph, initial: Mapping[str, np.ndarray]) -> Graph:
    """`graph`, in which operators of :data:`KINDS` became :attr:`.Graph.variables`.

    Parameters
    ----------
    graph : Graph
    initial : mapping of str to ndarray
        First values by variable.

    Raises
    ------
    LayerError
        If a variable is used in a way that has no meaning here.
    """
    return _Resolution(graph, initial).graph()


def as_in_files(graph: Graph) -> tuple[Graph, Graph]:
    """The inverse of :func:`with_state`: `graph` with operators of :data:`KINDS`, as a file has it.

    Returns
    -------
    Graph
        The network: it reads its variables first, and assigns them last.
    Graph
        The subgraph with the first values, which CALL_ONCE names as number 1.
    """
    tensors, firsts = list(graph.tensors), []
    handles, reads, assigns, once = [], [], [], []
    for number, each in enumerate(graph.variables, start=1):
        resource = Tensor(each.name, (), RESOURCE)
        tensors.append(resource)
        handle = (len(tensors) - 1,)
        tensor = graph.tensors[each.tensor]
        firsts += [resource, replace(tensor, name=f"{each.name} at first", data=each.initial)]
        place = len(firsts) - 2
        options = HandleOptions(each.name)
        handles.append(Operator(_HANDLE, f"var_handle{number}", (), handle, options))
        reads.append(Operator(_READ, f"read_variable{number}", handle, (each.tensor,)))
        assigns.append(Operator(_ASSIGN, f"assign_variable{number}", (*handle, each.next), ()))
        once += [
            Operator(_HANDLE, f"var_handle{number}", (), (place,), options),
            Operator(_ASSIGN, f"assign_variable{number}", (place, place + 1), ()),
        ]
    call = Operator(OperatorKind.CALL_ONCE, "call_once1", (), (), OnceOptions(1))
    main = replace(
        graph,
        tensors=tuple(tensors),
        operators=(call, *handles, *reads, *graph.operators, *assigns),
        variables=(),
    )
    return main, Graph(graph.name, tuple(firsts), tuple(once), (), ())


class _Resolution:
    """A graph as it is read: which tensors stand for which variable's bytes, so far."""

    def __init__(self, graph: Graph, initial: Mapping[str, np.ndarray]) -> None:
        self._graph = graph
        self._initial = initial
        self._tensors = list(graph.tensors)
        self._handles: dict[int, str] = {}
        #: By variable, the tensor that a run finds, and the one that it has assigned so far.
        self._found: dict[str, int] = {}
        self._assigned: dict[str, int] = {}
        #: Tensors that are read and hold what another one does.
        self._same: dict[int, int] = {}

    def graph(self) -> Graph:
        left = []
        for operator in self._graph.operators:
            if operator.kind is OperatorKind.VAR_HANDLE:
                self._handles |= {index: _name(operator) for index in operator.outputs}
            elif operator.kind is OperatorKind.READ_VARIABLE:
                self._read(operator)
            elif operator.kind is OperatorKind.ASSIGN_VARIABLE:
                name, source = _assignment(operator, self._handles)
                self._assigned[name] = self._same.get(source, source)
            elif operator.kind is OperatorKind.CALL_ONCE:
                if self._found or self._assigned:
                    raise LayerError(operator.name, "comes behind what uses its variables")
            else:
                left.append(replace(operator, inputs=self._resolved(operator.inputs)))
        variables = []
        for name, tensor in self._found.items():
            first = self._first(name, self._tensors[tensor])
            if name in self._assigned:
                variables.append(Variable(name, tensor, self._assigned[name], first))
            elif first.shape == self._tensors[tensor].shape:
                self._tensors[tensor] = replace(self._tensors[tensor], data=first)
        return replace(
            self._graph,
            tensors=tuple(self._tensors),
            operators=tuple(left),
            outputs=self._resolved(self._graph.outputs),
            variables=tuple(variables),
        )

    def _resolved(self, tensors: Sequence[int]) -> tuple[int, ...]:
        return tuple(self._same.get(index, index) for index in tensors)

    def _read(self, operator: Operator) -> None:
        if len(operator.inputs) != 1 or len(operator.outputs) != 1:
            raise LayerError(operator.name, "must have one input and one output")
        (handle,), (tensor,) = operator.inputs, operator.outputs
        if handle not in self._handles:
            raise LayerError(operator.name, "reads what is no variable")
        name = self._handles[handle]
        holds = self._assigned.get(name, self._found.get(name))
        if holds is None:
            self._found[name] = tensor
            return
        if not _alike(self._tensors[holds], self._tensors[tensor]):
            raise LayerError(operator.name, f"reads {name} as of another type, shape or scale")
        self._same[tensor] = holds

    def _first(self, name: str, tensor: Tensor) -> np.ndarray:
        if name in self._initial:
            return self._initial[name]
        if any(size < 1 for size in tensor.shape) or prod(tensor.shape) > _MAX_ELEMENTS:
            raise ModelError(f"variable {name}: shape {tensor.shape} is not possible")
        zero = 0 if tensor.quantization is None else int(tensor.quantization.zero_point[0])
        dtype = np.dtype(tensor.dtype if tensor.dtype != "unknown" else "int8")
        return np.full(tensor.shape, zero).astype(dtype)


def _name(operator: Operator) -> str:
    assert isinstance(operator.options, HandleOptions)
    return operator.options.name


def _assignment(operator: Operator, handles: Mapping[int, str]) -> tuple[str, int]:
    """The variable, and the tensor that it is assigned."""
    if len(operator.inputs) != 2:
        raise LayerError(operator.name, "must have two inputs")
    handle, source = operator.inputs
    if handle not in handles:
        raise LayerError(operator.name, "assigns to what is no variable")
    return handles[handle], source


def _alike(one: Tensor, other: Tensor) -> bool:
    def key(tensor: Tensor) -> tuple[Any, ...]:
        affine = tensor.quantization
        scales = None if affine is None else (affine.scale.tolist(), affine.zero_point.tolist())
        return tensor.shape, tensor.dtype, scales

    return key(one) == key(other)
