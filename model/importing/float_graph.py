"""A float network as plain data, with a forward pass in NumPy.

Every reader (`model.importing.onnx.reader` and its siblings) ends here, and everything behind it
begins here: calibration, rounding, and the comparison of int8 with float.

Tensors have no batch dimension in their shapes: pictures are (height, width, channels), a sequence
is a picture of height 1, and anything else is a vector. Arrays of values have the batch in front.
An operator (`model.importing.float_operators`) knows its arithmetic and nothing of the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from math import inf, isclose, prod

import numpy as np

from model.errors import ModelError
from model.importing.float_operators import Convolution, Dense, FloatOperator, Shape
from model.int8.operators.examined import written

__all__ = ["MOST", "Clamp", "FloatGraph", "Node", "is_relu", "is_relu6"]

_MAX_ELEMENTS = 1 << 24
"""Elements of one tensor, as in an int8 graph."""

MOST = 1e20
"""Bound of weights and values: beyond, products of scales leave float32."""

_WORKING_SET = 1 << 21
"""Elements of the largest tensor that a chunk of pictures makes."""

_MAX_BATCH = 64

Clamp = tuple[float, float]
"""Least and greatest value that a node lets through: its fused ReLU or clip."""


def is_relu(clamp: Clamp | None) -> bool:
    """Whether a clamp is that of a ReLU."""
    return clamp is not None and clamp[0] == 0 and clamp[1] == inf


def is_relu6(clamp: Clamp | None) -> bool:
    """Whether a clamp is that of a ReLU6."""
    return clamp is not None and clamp[0] == 0 and isclose(clamp[1], 6)


@dataclass(eq=False)
class Node:
    """One operator at its place in a graph.

    Attributes
    ----------
    name : str
        As the source names it, for messages.
    operator : FloatOperator
    inputs : list of int
        Tensor numbers, in the operator's order.
    output : int
    clamp : tuple of float, or None
        Bounds that the output is clipped to, behind the operator.
    """

    name: str
    operator: FloatOperator
    inputs: list[int]
    output: int
    clamp: Clamp | None = None

    def error(self, reason: str) -> ModelError:
        """An error that names this node."""
        return ModelError(f"node {self.name} ({self.operator.kind}): {reason}")


@dataclass(eq=False)
class FloatGraph:
    """Tensors, and nodes in running order. Tensor 0 is the input.

    Attributes
    ----------
    shapes : list of tuple of int
        By tensor number, without the batch.
    nodes : list of Node
    outputs : list of int
        Tensor numbers.
    output_names : list of str
        What the source calls them.
    fixed : dict of int to (float, int)
        int8 scale and zero point of tensors that the source has quantised already; `run` rounds
        them, too.
    notes : list of str
        What the user should know about the conversion, a line each.
    """

    shapes: list[Shape] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    output_names: list[str] = field(default_factory=list)
    fixed: dict[int, tuple[float, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def tensor(self, shape: Iterable[int]) -> int:
        """Number of a new tensor.

        Raises
        ------
        ModelError
            If it would be empty or too large.
        """
        shape = tuple(int(size) for size in shape)
        if not shape or min(shape) < 1:
            raise ModelError(f"a tensor of shape {written(shape)} has no elements")
        if prod(shape) > _MAX_ELEMENTS:
            raise ModelError(
                f"a tensor of shape {written(shape)} has {prod(shape)} elements; "
                f"{_MAX_ELEMENTS} are possible"
            )
        self.shapes.append(shape)
        return len(self.shapes) - 1

    def append(
        self, operator: FloatOperator, inputs: list[int], name: str, clamp: Clamp | None = None
    ) -> int:
        """Add a node at the end; its output's number.

        Raises
        ------
        ModelError
            If the operator does not fit its inputs, or a constant of it is not finite.
        """
        for values in vars(operator).values():
            if isinstance(values, np.ndarray) and not (np.abs(values) < MOST).all():
                raise ModelError(f"a weight or constant is not finite, or above {MOST:g}")
        output = self.tensor(operator.shape(*(self.shapes[index] for index in inputs)))
        self.nodes.append(Node(name, operator, list(inputs), output, clamp))
        return output

    def copy(self) -> FloatGraph:
        """A graph of its own; the operators, which are frozen, are shared."""
        return FloatGraph(
            list(self.shapes),
            [replace(node, inputs=list(node.inputs)) for node in self.nodes],
            list(self.outputs),
            list(self.output_names),
            dict(self.fixed),
            list(self.notes),
        )

    def consumers(self, tensor: int) -> list[Node]:
        """Nodes that read a tensor."""
        return [node for node in self.nodes if tensor in node.inputs]

    def producer(self, tensor: int) -> Node | None:
        """The node that writes a tensor; None for the input."""
        return next((node for node in self.nodes if node.output == tensor), None)

    def sole_consumer(self, tensor: int) -> Node | None:
        """The node that reads a tensor, if there is one only and the tensor is no output."""
        consumers = self.consumers(tensor)
        return consumers[0] if len(consumers) == 1 and tensor not in self.outputs else None

    def bypass(self, node: Node) -> None:
        """Take a node out: who read its output reads its first input."""
        source = node.inputs[0]
        self.nodes.remove(node)
        for other in self.nodes:
            other.inputs = [source if index == node.output else index for index in other.inputs]
        self.outputs = [source if index == node.output else index for index in self.outputs]

    def drop_unused(self) -> None:
        """Take out the nodes on which no output depends."""
        needed = set(self.outputs)
        for node in reversed(self.nodes):
            if node.output in needed:
                needed.update(node.inputs)
        self.nodes[:] = [node for node in self.nodes if node.output in needed]

    @property
    def parameters(self) -> int:
        """Weights and biases, counted one by one."""
        return sum(node.operator.parameters for node in self.nodes)

    @property
    def macs(self) -> int:
        """Products that one picture needs in convolutions and dense layers."""
        return sum(
            node.operator.weights.size * prod(self.shapes[node.output][:-1])
            for node in self.nodes
            if isinstance(node.operator, Convolution | Dense)
        )

    def run(
        self, x: np.ndarray, observe: Callable[[int, np.ndarray], None] | None = None
    ) -> list[np.ndarray]:
        """Outputs for inputs `x` of shape (n, *input shape), in float32.

        Parameters
        ----------
        x : ndarray
        observe : callable, optional
            Called with each tensor's number and its values, chunk by chunk; the values are good
            until it returns.
        """
        if x.shape[1:] != self.shapes[0]:
            raise ValueError(f"inputs of shape {x.shape[1:]}, not {self.shapes[0]}")
        largest = max(prod(self.shapes[0]), *(prod(self.shapes[n.output]) for n in self.nodes), 1)
        chunk = max(1, min(_MAX_BATCH, _WORKING_SET // largest))
        parts = [
            self._run(x[start : start + chunk].astype(np.float32), observe)
            for start in range(0, len(x), chunk)
        ]
        return [np.concatenate(part) for part in zip(*parts)]

    def _run(
        self, x: np.ndarray, observe: Callable[[int, np.ndarray], None] | None
    ) -> list[np.ndarray]:
        last_use = {index: place for place, node in enumerate(self.nodes) for index in node.inputs}
        x = self._rounded(0, x)
        values = {0: x}
        if observe is not None:
            observe(0, x)
        # What overflows shows in calibration, with the node's name.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for place, node in enumerate(self.nodes):
                y = node.operator.forward(*(values[index] for index in node.inputs))
                if node.clamp is not None and node.clamp != (-inf, inf):
                    y = np.clip(y, *node.clamp)
                y = self._rounded(node.output, y.astype(np.float32, copy=False))
                values[node.output] = y
                if observe is not None:
                    observe(node.output, y)
                for index in {*node.inputs, node.output}:
                    if last_use.get(index, place) == place and index not in self.outputs:
                        values.pop(index, None)
        return [values[index] for index in self.outputs]

    def _rounded(self, tensor: int, x: np.ndarray) -> np.ndarray:
        """What int8 holds of a tensor, where the source has said with which scale."""
        if tensor not in self.fixed:
            return x
        scale, zero_point = self.fixed[tensor]
        stored = np.clip(np.rint(x / np.float32(scale)) + zero_point, -128, 127)
        return (stored - np.float32(zero_point)) * np.float32(scale)
