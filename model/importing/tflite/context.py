"""What translations of a `.tflite` file's operators share."""

from __future__ import annotations

from math import inf

import numpy as np

from model.errors import ModelError
from model.importing.channels_last import our_axis
from model.importing.float_graph import Clamp, FloatGraph
from model.importing.float_operators import FloatOperator, Function, Shape
from model.int8.graph import ABSENT, Activation, Graph, Operator
from model.int8.operators.examined import written

__all__ = ["Context"]

_CLAMPS: dict[Activation, Clamp] = {
    Activation.RELU: (0.0, inf),
    Activation.RELU6: (0.0, 6.0),
    Activation.RELU_N1_TO_1: (-1.0, 1.0),
}


class Context:
    """A file's graph, and ours in the making.

    Attributes
    ----------
    source : Graph
    graph : FloatGraph
    tensors : dict of int to int
        Our tensor by the file's, of those that depend on its input.
    constants : dict of int to ndarray
        The values of the others.
    """

    def __init__(self, source: Graph) -> None:
        self.source = source
        self.graph = FloatGraph()
        self.tensors: dict[int, int] = {}
        self.constants: dict[int, np.ndarray] = {}

    @staticmethod
    def error(operator: Operator, reason: str) -> ModelError:
        """An error that names the operator."""
        return ModelError(f"layer {operator.name} ({operator.kind.value}): {reason}")

    def shape(self, index: int) -> Shape:
        """Shape of a tensor without the batch, which is 1."""
        shape = self.source.tensors[index].shape
        if not 1 <= len(shape) <= 4 or shape[0] != 1:
            raise ModelError(
                f"a tensor has shape {written(shape)}; the first of one to four sizes must be 1"
            )
        return shape[1:]

    def rank(self, operator: Operator, place: int = 0) -> int:
        """Axes of an input as the file has it, without the batch."""
        return len(self.source.tensors[operator.inputs[place]].shape) - 1

    def axis(self, operator: Operator, axis: int, place: int = 0) -> int:
        """Our axis for an axis of an input as the file counts it."""
        rank = self.rank(operator, place)
        axis %= rank + 1
        if not axis:
            raise self.error(operator, "touches the batch, which is not supported")
        return our_axis(axis - 1, rank)

    def unbatched(self, operator: Operator, values: np.ndarray, place: int = 0) -> np.ndarray:
        """A constant that broadcasts to an input, without its first axis if that is the batch."""
        return values[0] if values.ndim > self.rank(operator, place) else values

    def live(self, operator: Operator, place: int = 0) -> int:
        """Our tensor for an input that depends on the model's input."""
        index = operator.inputs[place]
        if index not in self.tensors:
            raise self.error(operator, f"its input {place + 1} must depend on the model's input")
        return self.tensors[index]

    def array(self, operator: Operator, place: int, what: str) -> np.ndarray:
        """A constant input."""
        index = operator.inputs[place] if place < len(operator.inputs) else ABSENT
        if index not in self.constants:
            raise self.error(operator, f"its {what} must be constant")
        return self.constants[index]

    def bias(self, operator: Operator, place: int, channels: int) -> np.ndarray:
        """The biases, or zeros where they are left out."""
        if place >= len(operator.inputs) or operator.inputs[place] == ABSENT:
            return np.zeros(channels)
        return self.array(operator, place, "bias").ravel()

    def add(self, operator: Operator, float_operator: FloatOperator, inputs: list[int]) -> int:
        """A node, with the activation that the operator has fused."""
        activation = getattr(operator.options, "activation", Activation.NONE)
        if activation in (Activation.NONE, *_CLAMPS):
            clamp = _CLAMPS.get(activation)
            return self.graph.append(float_operator, inputs, operator.name, clamp)
        if activation is not Activation.TANH:
            raise self.error(operator, f"fused {activation.value} is not supported")
        tensor = self.graph.append(float_operator, inputs, operator.name)
        return self.graph.append(Function("tanh"), [tensor], operator.name)
