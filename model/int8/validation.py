"""Does a graph make sense? Checked before anything runs, for models come from strangers.

The checks hold what `model.int8.reference` and the compiler take for granted: shapes that fit one
another, int8 all along, quantisation that the arithmetic can express, and sizes that cannot exhaust
the machine. Every failure is one :class:`ModelError` line that names the layer. What an operator
requires is in its record, in `.operators`.
"""

from __future__ import annotations

from math import prod

import numpy as np

from model.errors import ModelError
from model.int8.graph import ABSENT, Graph, Tensor
from model.int8.operators import OPERATORS
from model.int8.operators.examined import Examined, written

__all__ = ["validate"]

_MAX_ELEMENTS = 1 << 24
"""Elements of one tensor."""


def _check_quantization(tensor: Tensor) -> None:
    quantization = tensor.quantization
    if quantization is None:
        return
    where = f"tensor {tensor.name}"
    scale, zero_point = quantization.scale, quantization.zero_point
    if not (np.all(np.isfinite(scale)) and np.all(scale >= np.finfo(np.float32).tiny)):
        raise ModelError(f"{where}: a scale is not a positive finite number")
    if len(scale) != len(zero_point):
        raise ModelError(f"{where}: {len(scale)} scales but {len(zero_point)} zero points")
    if len(scale) > 1:
        axis = quantization.axis
        if not 0 <= axis < len(tensor.shape) or tensor.shape[axis] != len(scale):
            raise ModelError(
                f"{where}: {len(scale)} scales do not fit dimension {axis} "
                f"of {written(tensor.shape)}"
            )
    if tensor.dtype == "int8" and not np.all((zero_point >= -128) & (zero_point <= 127)):
        raise ModelError(f"{where}: a zero point is outside -128 to 127")


def _check_tensor(tensor: Tensor) -> None:
    if any(size < 1 for size in tensor.shape):
        raise ModelError(f"tensor {tensor.name}: shape {written(tensor.shape)} has no elements")
    if prod(tensor.shape) > _MAX_ELEMENTS:
        raise ModelError(
            f"tensor {tensor.name}: {prod(tensor.shape)} elements; {_MAX_ELEMENTS} are possible"
        )
    _check_quantization(tensor)


def validate(graph: Graph) -> None:
    """Check that the reference can run `graph` and that its numbers are meant as TFLM means them.

    Raises
    ------
    ModelError
        With one line that names the layer or tensor and the reason.
    """
    for role, indexes in (("input", graph.inputs), ("output", graph.outputs)):
        if len(indexes) != 1:
            raise ModelError(f"{len(indexes)} {role}s; a model with exactly one is needed")
    if not graph.operators:
        raise ModelError("no layers")
    used = {
        index
        for operator in graph.operators
        for index in operator.inputs + operator.outputs
        if index != ABSENT
    }
    for index in sorted(used | set(graph.inputs) | set(graph.outputs)):
        if not 0 <= index < len(graph.tensors):
            raise ModelError(f"tensor number {index} does not exist")
        _check_tensor(graph.tensors[index])
    known = set(graph.inputs)
    for operator in graph.operators:
        layer = Examined(graph, operator)
        definition = OPERATORS.get(operator.kind)
        if definition is None:
            raise ModelError(f"layer {operator.name}: {operator.kind.value} is not supported")
        layer.require(len(operator.outputs) == 1, f"{len(operator.outputs)} outputs, not one")
        layer.require(layer.has(0), "no input")
        for index in operator.inputs:
            layer.require(
                index == ABSENT or index in known or graph.tensors[index].data is not None,
                "reads a tensor that nothing has written",
            )
        layer.require(operator.inputs[0] in known, "its input is a constant")
        layer.require(operator.outputs[0] not in known, "its output is written twice")
        layer.require(layer.output.data is None, "its output is a constant")
        for role, tensor in (("input", layer.input), ("output", layer.output)):
            layer.require(
                len(tensor.shape) >= 1 and tensor.shape[0] == 1,
                f"its {role} has shape {written(tensor.shape)}; the first dimension must be 1",
            )
        definition.check(layer)
        known.add(operator.outputs[0])
    if graph.outputs[0] not in known - set(graph.inputs):
        raise ModelError("nothing writes the output")
    if graph.labels and len(graph.labels) != graph.output.shape[-1]:
        raise ModelError(f"{len(graph.labels)} labels for {graph.output.shape[-1]} output channels")
