"""The exact int8 network: byte for byte what TensorFlow Lite for Microcontrollers computes.

`run` and `predict` execute a whole graph on a batch; `Session` keeps a network's state between
batches. `requantization`, `window` and `table` give the integers that define a layer; the compiler
takes them from here, so that hardware and reference cannot drift apart. Each operator's arithmetic
is in its record, in `.operators`.

Products are summed in floating point by BLAS, which is exact: every partial sum is an integer below
2**24 in float32, or below 2**53 in float64; the bound of the actual weights chooses the type.

Sources: TensorFlow Lite ``kernels/internal/reference/integer_ops`` and ``kernels/padding.h``;
TensorFlow Lite for Microcontrollers ``micro/kernels/*_common.cc``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
    "Session",
    "Window",
    "addition",
    "compute",
    "mean",
    "outputs",
    "predict",
    "replay",
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

    That is a function of one byte, or arithmetic of one activation, however often it is read, with
    constants of a single element.

    Returns
    -------
    ndarray of int8, shape (256,)
        Indexed by the input plus 128.

    Raises
    ------
    TypeError
        If `operator` is no function of one byte.
    """
    definition = OPERATORS[operator.kind]
    tensors = [graph.tensors[index] for index in operator.inputs]
    read = {index for index in operator.inputs if graph.tensors[index].data is None}
    if (
        not definition.elementwise
        or len(read) != 1
        or graph.tensors[operator.outputs[0]].dtype != "int8"
        or any(tensor.dtype != "int8" for tensor in tensors)
        or any(tensor.data is not None and prod(tensor.shape) != 1 for tensor in tensors)
    ):
        raise TypeError(f"{operator.kind.value} {operator.name!r} is no function of one byte")
    if definition.byte_function is not None:
        return of_every_byte(definition.byte_function, graph, operator)
    every = np.arange(-128, 128).astype(np.int8)
    inputs = [every if tensor.data is None else tensor.data.reshape(1) for tensor in tensors]
    return compute(graph, operator, inputs)[0]


def compute(
    graph: Graph, operator: Operator, inputs: Sequence[np.ndarray]
) -> tuple[np.ndarray, ...]:
    """One operator on given inputs.

    Parameters
    ----------
    graph : Graph
    operator : Operator
    inputs : sequence of ndarray
        One for each input, with an axis of examples before the tensor's axes. That axis has size 1
        for a constant. An operator that works element by element takes any shapes that broadcast.

    Returns
    -------
    tuple of ndarray
        The outputs as the operator's record computes them, not yet in their tensors' shapes.
    """
    outputs = OPERATORS[operator.kind].compute(graph, operator, inputs)
    return outputs if isinstance(outputs, tuple) else (outputs,)


def _value(graph: Graph, index: int, values: Mapping[int, np.ndarray]) -> np.ndarray:
    """A tensor with the axis of examples, which has size 1 for a constant."""
    if index in values:
        return values[index]
    data = graph.tensors[index].data
    assert data is not None
    return data[np.newaxis]


def _execute(
    graph: Graph, operator: Operator, values: dict[int, np.ndarray]
) -> tuple[np.ndarray, ...]:
    """The operator's outputs, each with the axis of examples before its tensor's axes."""
    inputs = [
        np.empty(0) if index == ABSENT else _value(graph, index, values)
        for index in operator.inputs
    ]
    return tuple(
        output.reshape(-1, *graph.tensors[index].shape)
        for output, index in zip(compute(graph, operator, inputs), operator.outputs, strict=True)
    )


def _batch(graph: Graph) -> int:
    """How many examples to compute at once."""
    largest = 1
    for operator in graph.operators:
        size = prod(graph.tensors[operator.outputs[0]].shape)
        if operator.kind is OperatorKind.CONV_2D:
            shape = window(graph, operator)
            taps = prod(graph.tensors[operator.inputs[1]].shape[1:3])
            channels = graph.tensors[operator.inputs[0]].shape[3]
            size = max(size, shape.output_h * shape.output_w * taps * channels)
        largest = max(largest, size)
    return min(max(1, _WORKING_SET // largest), _MAX_BATCH)


def _examples(
    graph: Graph, x: np.ndarray | Mapping[str, np.ndarray]
) -> tuple[dict[int, np.ndarray], int]:
    """The inputs by tensor, with the axis of examples first, and how many examples there are."""
    names = [graph.tensors[index].name for index in graph.inputs]
    given = x if isinstance(x, Mapping) else {names[0]: x}
    if sorted(given) != sorted(names):
        raise ModelError(
            f"{graph.name}: takes {', '.join(names)}; given were {', '.join(given) or 'none'}"
        )
    values, counts = {}, set()
    for index, name in zip(graph.inputs, names):
        tensor, array = graph.tensors[index], np.asarray(given[name])
        shape = tensor.example_shape
        if array.dtype != tensor.dtype or array.shape[1:] != shape or not array.ndim:
            wanted, found = ("x".join(map(str, each)) for each in (shape, array.shape[1:]))
            what = "pictures" if len(shape) == 3 else "arrays"
            raise ModelError(
                f"{graph.name}: takes {tensor.dtype} {what} of {wanted}, not {array.dtype} of "
                f"{found}"
            )
        values[index] = array.reshape(len(array), *tensor.shape)
        counts.add(len(array))
    if len(counts) != 1:
        raise ModelError(f"{graph.name}: inputs of {sorted(counts)} examples")
    return values, counts.pop()


def run(
    graph: Graph,
    x: np.ndarray | Mapping[str, np.ndarray],
    keep: Iterable[int] | Literal["all"] = (),
) -> dict[int, np.ndarray]:
    """Execute a network on a batch of examples.

    The examples are independent, unless the network has variables: then they are successive runs,
    and the first one finds the variables' initial values.

    Parameters
    ----------
    graph : Graph
    x : ndarray, shape (n, ...), or mapping of str to ndarray
        n examples of the input's type and `Tensor.example_shape`; for several inputs, by name.
    keep : iterable of int, or "all"
        Tensors to return besides the graph's outputs; "all" for every operator's outputs.

    Returns
    -------
    dict of int to ndarray
        By tensor index, of the tensor's type: n times its `Tensor.example_shape`.

    Raises
    ------
    ModelError
        If `x` does not fit the network.
    """
    return Session(graph).run(x, keep)


class Session:
    """A network in use: what its variables hold after one run, the next one finds.

    Parameters
    ----------
    graph : Graph

    Attributes
    ----------
    state : dict of int to ndarray
        By :attr:`.Variable.tensor`, what the next run will find, of the variable's shape.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.state: dict[int, np.ndarray] = {}
        self.reset_state()

    def reset_state(self) -> None:
        """Let the next run be the first."""
        self.state = {each.tensor: each.initial for each in self.graph.variables}

    def run(
        self,
        x: np.ndarray | Mapping[str, np.ndarray],
        keep: Iterable[int] | Literal["all"] = (),
    ) -> dict[int, np.ndarray]:
        """As the function :func:`run`; of a network with variables, one example after the other."""
        graph = self.graph
        given, count = _examples(graph, x)
        if keep == "all":
            kept = {index for operator in graph.operators for index in operator.outputs}
        else:
            kept = {int(index) for index in keep}
        kept |= set(graph.outputs)
        results = {
            index: np.empty((count, *graph.tensors[index].shape), graph.tensors[index].dtype)
            for index in kept
        }
        passed_on = {each.next for each in graph.variables}
        last_use = {
            index: step
            for step, operator in enumerate(graph.operators)
            for index in operator.inputs
        }
        batch = 1 if graph.variables else _batch(graph)
        for start in range(0, count, batch):
            values = {index: array[start : start + batch] for index, array in given.items()}
            values |= {index: array[np.newaxis] for index, array in self.state.items()}
            for step, operator in enumerate(graph.operators):
                for index, value in zip(operator.outputs, _execute(graph, operator, values)):
                    values[index] = value
                for used in set(operator.inputs):
                    if last_use[used] == step and used not in kept and used not in passed_on:
                        values.pop(used, None)
            for index in kept:
                results[index][start : start + batch] = values[index]
            self.state = {
                each.tensor: _value(graph, each.next, values)[0] for each in graph.variables
            }
        return {
            index: value.reshape(count, *graph.tensors[index].example_shape)
            for index, value in results.items()
        }


def replay(
    graph: Graph, x: np.ndarray | Mapping[str, np.ndarray], stored: Mapping[int, np.ndarray]
) -> dict[int, np.ndarray]:
    """What is on the way from one example to the answer, given what a board stored of it.

    Every operator is computed on what it reads; where `stored` has its output, that takes the place
    of the computed one. So a tensor that a board never stores is what its engine made of what it
    did store. A network with variables finds their initial values, as in its first run.

    Parameters
    ----------
    graph : Graph
    x : ndarray, or mapping of str to ndarray
        An example of the input's type and `Tensor.example_shape`; for several inputs, by name.
    stored : mapping of int to ndarray
        By tensor, of its type and number of elements.

    Returns
    -------
    dict of int to ndarray
        By tensor index, constants included: its elements, of its type and `Tensor.shape`.
    """
    batch = (
        {name: each[np.newaxis] for name, each in x.items()} if isinstance(x, Mapping) else x[None]
    )
    given, _ = _examples(graph, batch)
    values = {
        index: tensor.data for index, tensor in enumerate(graph.tensors) if tensor.data is not None
    }

    def keep(index: int, value: np.ndarray) -> None:
        value = stored.get(index, value)
        values[index] = value.reshape(graph.tensors[index].shape)

    for index, value in given.items():
        keep(index, value)
    values |= {each.tensor: each.initial for each in graph.variables}
    for operator in graph.operators:
        batched = {index: values[index][np.newaxis] for index in operator.inputs if index in values}
        for index, value in zip(operator.outputs, _execute(graph, operator, batched), strict=True):
            keep(index, value)
    return values


def predict(graph: Graph, x: np.ndarray | Mapping[str, np.ndarray]) -> np.ndarray:
    """The network's first output for a batch of examples; see `run`.

    Returns
    -------
    ndarray, shape (n, ...)
        n times the output's `Tensor.example_shape`, of its type.
    """
    return run(graph, x)[graph.outputs[0]]


def outputs(graph: Graph, x: np.ndarray | Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All of the network's outputs for a batch of examples, by name; see `run`."""
    results = run(graph, x)
    return {graph.tensors[index].name: results[index] for index in graph.outputs}
