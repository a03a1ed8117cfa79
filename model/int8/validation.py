"""Does a graph make sense? Checked before anything runs, for models come from strangers.

The checks hold what `model.int8.reference` and the compiler take for granted: shapes that fit one
another, int8 all along, quantisation that the arithmetic can express, and sizes that cannot exhaust
the machine. Every failure is one :class:`ModelError` line that names the layer. What an operator
requires is in its record, in `.operators`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import NamedTuple

from model.errors import ModelError
from model.int8.graph import ABSENT, Graph, Operator, Tensor, Variable
from model.int8.operators import OPERATORS
from model.int8.operators.examined import Examined, LayerError, written

__all__ = ["Missing", "validate"]

_MAX_ELEMENTS = 1 << 24
"""Elements of one tensor."""

_MAX_NAMED = 4
"""Layers that are named for one reason."""


class Missing(NamedTuple):
    """A layer that is not in the graph because it cannot run, and the tensors that it writes."""

    error: LayerError
    outputs: tuple[int, ...]


def _check_tensor(tensor: Tensor) -> None:
    if any(size < 1 for size in tensor.shape):
        raise ModelError(f"tensor {tensor.name}: shape {written(tensor.shape)} has no elements")
    if prod(tensor.shape) > _MAX_ELEMENTS:
        raise ModelError(
            f"tensor {tensor.name}: {prod(tensor.shape)} elements; {_MAX_ELEMENTS} are possible"
        )


def validate(graph: Graph, missing: Sequence[Missing] = ()) -> None:
    """Check that the reference can run `graph` and that its numbers are meant as TFLM means them.

    Parameters
    ----------
    graph : Graph
    missing : sequence of Missing
        Layers that were left out of `graph`, to be named with what else stands in the way.

    Raises
    ------
    ModelError
        With one line that names each layer or tensor and its reason.
    """
    for role, indexes in (("input", graph.inputs), ("output", graph.outputs)):
        if not indexes:
            raise ModelError(f"no {role}")
    if not graph.operators and not missing:
        raise ModelError("no layers")
    used = {
        index
        for operator in graph.operators
        for index in operator.inputs + operator.outputs
        if index != ABSENT
    }
    used |= {index for each in graph.variables for index in (each.tensor, each.next)}
    for index in sorted(used | set(graph.inputs) | set(graph.outputs)):
        if not 0 <= index < len(graph.tensors):
            raise ModelError(f"tensor number {index} does not exist")
        _check_tensor(graph.tensors[index])
    for index in graph.inputs:
        if graph.tensors[index].data is not None:
            raise ModelError(f"tensor {graph.tensors[index].name}: an input, but constant")
    for variable in graph.variables:
        _check_variable(graph, variable)
    known = set(graph.inputs) | {variable.tensor for variable in graph.variables}
    refused = [each.error for each in missing]
    elsewhere = {index for each in missing for index in each.outputs}
    for operator in graph.operators:
        try:
            _check_operator(graph, operator, known | elsewhere)
        except LayerError as error:
            refused.append(error)
        known |= set(operator.outputs)
    if refused:
        raise ModelError(_listed(refused))
    for variable in graph.variables:
        if variable.next not in known and graph.tensors[variable.next].data is None:
            raise ModelError(f"variable {variable.name}: nothing writes what it is assigned")
    for index in graph.outputs:
        if index not in known - set(graph.inputs):
            raise ModelError(f"nothing writes the output {graph.tensors[index].name}")
    if graph.labels and graph.output.shape[-1:] != (len(graph.labels),):
        raise ModelError(
            f"{len(graph.labels)} labels for an output of {written(graph.output.shape)}"
        )


def _check_variable(graph: Graph, variable: Variable) -> None:
    found, left = graph.tensors[variable.tensor], graph.tensors[variable.next]
    for tensor in (found, left):
        if (tensor.shape, tensor.dtype) != (variable.initial.shape, variable.initial.dtype.name):
            raise ModelError(
                f"variable {variable.name}: {variable.initial.dtype.name} of "
                f"{written(variable.initial.shape)} at first, but {tensor.dtype} of "
                f"{written(tensor.shape)} as {tensor.name}"
            )
    if found.data is not None or variable.tensor in graph.inputs:
        raise ModelError(f"variable {variable.name}: {found.name} is no variable's tensor")


def _check_operator(graph: Graph, operator: Operator, known: set[int]) -> None:
    layer = Examined(graph, operator)
    definition = OPERATORS.get(operator.kind)
    if definition is None:
        layer.refuse(f"{operator.kind.value} is not supported")
    layer.require(
        len(operator.outputs) == definition.outputs
        or (definition.outputs is None and len(operator.outputs) > 0),
        f"{len(operator.outputs)} outputs",
    )
    # Only a bias, which comes last, may be absent.
    present = ABSENT not in operator.inputs[:-1] and operator.inputs[:1] not in ((), (ABSENT,))
    layer.require(present, "no input")
    for index in operator.inputs:
        layer.require(
            index == ABSENT or index in known or graph.tensors[index].data is not None,
            "reads a tensor that nothing has written",
        )
    layer.require(any(index in known for index in operator.inputs), "its input is a constant")
    for index in operator.outputs:
        layer.require(index not in known, "its output is written twice")
        layer.require(graph.tensors[index].data is None, "its output is a constant")
    layer.require(len(set(operator.outputs)) == len(operator.outputs), "an output named twice")
    definition.check(layer)


def _listed(refused: Iterable[LayerError]) -> str:
    """One line for all layers that cannot run: each reason with its layers."""
    layers: dict[str, list[str]] = {}
    for error in refused:
        layers.setdefault(error.reason, []).append(error.layer)
    return "; ".join(f"{_layers(names)}: {reason}" for reason, names in layers.items())


def _layers(names: list[str]) -> str:
    """``layer a``, ``layers a and b``, ``layers a, b, c and 9 more``."""
    if len(names) == 1:
        return f"layer {names[0]}"
    shown = names[:_MAX_NAMED] if len(names) > _MAX_NAMED + 1 else names[:-1]
    rest = f"{len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED + 1 else names[-1]
    return f"layers {', '.join(shown)} and {rest}"
