"""The exact int8 network: byte for byte what TensorFlow Lite for Microcontrollers computes.

`run` and `predict` execute a whole graph on a batch. `requantization`, `window` and `table` give
the integers that define a layer; the compiler takes them from here, so that hardware and reference
cannot drift apart. Each operator's arithmetic is in its record, in `.operators`.

Products are summed in floating point by BLAS, which is exact: every partial sum is an integer below
2**24 in float32, or below 2**53 in float64; the bound of the actual weights chooses the type.

Sources: TensorFlow Lite ``kernels/internal/reference/integer_ops`` and ``kernels/padding.h``;
TensorFlow Lite for Microcontrollers ``micro/kernels/*_common.cc``.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Literal

import numpy as np

from model.errors import ModelError
from model.int8.graph import ABSENT, Graph, Operator, OperatorKind
from model.int8.operators import OPERATORS
from model.int8.operators.arithmetic import addition
from model.int8.operators.byte_functions import of_every_byte
from model.int8.operators.quantization import Requantization, requantization
from model.int8.operators.reduction import mean
from model.int8.operators.window import Window, window

__all__ = [
    "Requantization",
    "Window",
    "addition",
    "mean",
    "predict",
    "requantization",
    "run",
    "table",
    "window",
]

_WORKING_SET = 1 << 20
"""Elements of the largest intermediate array: a batch is cut so that it stays near the cache."""

_MAX_BATCH = 512


def table(graph: Graph, operator: Operator) -> np.ndarray:
    """The 256 answers of a layer that maps byte to byte.

    Returns
    -------
    ndarray of int8, shape (256,)
        Indexed by the input plus 128.

    Raises
    ------
    TypeError
        If `operator` is no function of one byte.
    """
    function = OPERATORS[operator.kind].byte_function
    if function is None:
        raise TypeError(f"{operator.kind.value} {operator.name!r} is no function of one byte")
    return of_every_byte(function, graph, operator)


def _execute(
    graph: Graph, operator: Operator, values: dict[int, np.ndarray]
) -> tuple[np.ndarray, ...]:
    """The operator's outputs, each with the axis of examples before its tensor's axes."""
    inputs = []
    for index in operator.inputs:
        if index == ABSENT:
            inputs.append(np.empty(0))
        elif index in values:
            inputs.append(values[index])
        else:
            data = graph.tensors[index].data
            assert data is not None
            inputs.append(data[np.newaxis])
    outputs = OPERATORS[operator.kind].compute(graph, operator, inputs)
    if not isinstance(outputs, tuple):
        outputs = (outputs,)
    return tuple(
        output.reshape(-1, *graph.tensors[index].shape)
        for output, index in zip(outputs, operator.outputs, strict=True)
    )


def _batch(graph: Graph) -> int:
    """How many pictures to compute at once."""
    largest = 1
    for operator in graph.operators:
        size = prod(graph.tensors[operator.outputs[0]].shape)
        if operator.kind is OperatorKind.CONV_2D:
            shape = window(graph, operator)
            taps = prod(graph.tensors[operator.inputs[1]].shape[1:])
            size = max(size, shape.output_h * shape.output_w * taps)
        largest = max(largest, size)
    return min(max(1, _WORKING_SET // largest), _MAX_BATCH)


def run(
    graph: Graph, x: np.ndarray, keep: Iterable[int] | Literal["all"] = ()
) -> dict[int, np.ndarray]:
    """Execute a network on a batch of pictures.

    Parameters
    ----------
    graph : Graph
        With one input.
    x : ndarray of int8, shape (n, ...)
        The input tensor's shape with n in place of the batch dimension of 1.
    keep : iterable of int, or "all"
        Tensors to return besides the graph's outputs; "all" for every operator's output.

    Returns
    -------
    dict of int to ndarray of int8
        By tensor index; each with the batch axis first.

    Raises
    ------
    ModelError
        If `x` does not fit the network.
    """
    x = np.asarray(x)
    shape = graph.input.shape
    if x.dtype != np.int8 or x.shape[1:] != shape[1:]:
        wanted = "x".join(map(str, shape[1:]))
        given = "x".join(map(str, x.shape[1:]))
        raise ModelError(f"{graph.name}: takes int8 pictures of {wanted}, not {x.dtype} of {given}")
    if keep == "all":
        kept = {index for operator in graph.operators for index in operator.outputs}
    else:
        kept = {int(index) for index in keep}
    kept |= set(graph.outputs)
    results = {
        index: np.empty((len(x), *graph.tensors[index].shape[1:]), np.int8) for index in kept
    }
    last_use = {
        index: step for step, operator in enumerate(graph.operators) for index in operator.inputs
    }
    batch = _batch(graph)
    for start in range(0, len(x), batch):
        values = {graph.inputs[0]: x[start : start + batch, np.newaxis]}
        for step, operator in enumerate(graph.operators):
            for index, value in zip(operator.outputs, _execute(graph, operator, values)):
                values[index] = value
            for used in set(operator.inputs):
                if last_use[used] == step and used not in kept:
                    values.pop(used, None)
        for index in kept:
            results[index][start : start + batch] = values[index][:, 0]
    return results


def predict(graph: Graph, x: np.ndarray) -> np.ndarray:
    """The network's output for a batch of pictures; see `run`.

    Returns
    -------
    ndarray of int8, shape (n, ...)
        The output tensor with the batch axis first.
    """
    return run(graph, x)[graph.outputs[0]]
