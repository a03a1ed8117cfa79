"""Forms of operators that the reference computes and the engine does not yet run.

Whoever teaches the compiler one of them takes its line away.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from model.int8.graph import ABSENT, Graph, Operator, OperatorKind
from model.int8.operators.padding import padding
from model.int8.operators.reduction import reduced_axes

from ..errors import CompileError

__all__ = ["check_forms"]


def _mean(graph: Graph, operator: Operator) -> str | None:
    rank = len(graph.tensors[operator.inputs[0]].shape)
    axes = reduced_axes(graph, operator)
    return None if (rank, axes) == (4, (1, 2)) else f"averages dimensions {list(axes)} of {rank}"


def _pad(graph: Graph, operator: Operator) -> str | None:
    return "pads the batch" if padding(graph, operator)[0].any() else None


def _add(graph: Graph, operator: Operator) -> str | None:
    first, second = (graph.tensors[index] for index in operator.inputs[:2])
    if first.data is not None or second.data is not None:
        return "adds a constant"
    return None if first.shape == second.shape else "broadcasts"


def _dense(graph: Graph, operator: Operator) -> str | None:
    weights = graph.tensors[operator.inputs[1]]
    # A batch is refused elsewhere.
    shape = graph.tensors[operator.inputs[0]].shape
    one = shape[:1] != (1,) or prod(shape) == weights.shape[1]
    return None if one else "works on a map"


def _convolution(graph: Graph, operator: Operator) -> str | None:
    channels = graph.tensors[operator.inputs[0]].shape[3]
    return None if graph.tensors[operator.inputs[1]].shape[3] == channels else "is grouped"


_FORMS: dict[OperatorKind, Callable[[Graph, Operator], str | None]] = {
    OperatorKind.MEAN: _mean,
    OperatorKind.PAD: _pad,
    OperatorKind.ADD: _add,
    OperatorKind.FULLY_CONNECTED: _dense,
    OperatorKind.CONV_2D: _convolution,
}


def check_forms(graph: Graph) -> None:
    """Refuse what the engine does not run of the kinds that it runs.

    Raises
    ------
    CompileError
        If there is any; it names every such layer.
    """
    found = []
    for operator in graph.operators:
        if len(operator.outputs) != 1 or ABSENT in operator.inputs[:1]:
            continue
        form = _FORMS.get(operator.kind)
        reason = None if form is None else form(graph, operator)
        if reason is not None:
            found.append(f"layer {operator.name}: {operator.kind.value} {reason}")
    if found:
        raise CompileError("; ".join(found) + ": the engine does not run that yet")
