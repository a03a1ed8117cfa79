"""What translations of ONNX nodes share: their arguments, and how values lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from model.importing import layout
from model.importing.float_graph import Clamp, FloatGraph
from model.importing.float_operators import FloatOperator, Function, Shape
from model.importing.layout import Value
from model.importing.onnx.file import OnnxNode
from model.int8.operators.examined import written

__all__ = [
    "Argument",
    "Arguments",
    "Context",
    "Translation",
    "array",
    "channels_last",
    "live",
    "number",
    "optional",
    "text",
]

Argument = Value | np.ndarray | None
"""What depends on the model's input, a constant, or an input left out."""

Arguments = Sequence[Argument]

Translation = Callable[["Context", OnnxNode, Arguments], "Value | list[Value]"]
"""Appends what a node computes to the graph; returns its output, or several."""


@dataclass(eq=False)
class Context:
    """What translations share.

    Attributes
    ----------
    graph : FloatGraph
    opset : int
    batch : int
        The source's first dimension; 1 where it is open.
    scales : dict of str to ndarray
        Scale of constants, by name, that were dequantised from int8.
    """

    graph: FloatGraph
    opset: int
    batch: int
    scales: dict[str, np.ndarray]

    def shape(self, value: Value) -> Shape:
        """Shape of a value as the source has it."""
        return (self.batch, *value.shape)

    def same(self, node: OnnxNode, value: Value, operator: FloatOperator) -> Value:
        """`operator` on the value's tensor, whose order it does not touch."""
        return Value(self.graph.append(operator, [value.tensor], node.name), value.index)

    def clipped(self, node: OnnxNode, value: Value, clamp: Clamp) -> Value:
        """The value within bounds."""
        tensor = self.graph.append(Function("identity"), [value.tensor], node.name, clamp)
        return Value(tensor, value.index)

    def picture(self, node: OnnxNode, value: Value) -> tuple[int, np.ndarray]:
        """Tensor and channel order of a value (C, H, W), or (C, W): see `layout.pixels`."""
        return layout.pixels(self.graph, value, channels_last(node, value.index), node.name)

    def result(self, tensor: int, value: Value, order: np.ndarray | None = None) -> Value:
        """The value (C, H, W) of a tensor, or (C, W) if `value` was so."""
        index = layout.standard(self.graph.shapes[tensor]).transpose(2, 0, 1)
        if order is not None:
            index = index[order]
        return Value(tensor, index if value.index.ndim == 3 else index[:, 0])


def channels_last(node: OnnxNode, index: np.ndarray) -> np.ndarray:
    """Index (C, H, W) or (C, W) as (H, W, C)."""
    if index.ndim == 2:
        index = index[:, np.newaxis]
    if index.ndim != 3:
        raise node.error(f"needs pictures, not shape {text(index.shape)}")
    return index.transpose(1, 2, 0)


def text(shape: Sequence[int]) -> str:
    """A shape as messages have it."""
    return written(shape) or "a single number"


def live(node: OnnxNode, arguments: Arguments, place: int = 0) -> Value:
    """An argument that depends on the model's input."""
    value = arguments[place] if place < len(arguments) else None
    if not isinstance(value, Value):
        raise node.error(f"its input {place + 1} must depend on the model's input")
    return value


def array(node: OnnxNode, arguments: Arguments, place: int, what: str) -> np.ndarray:
    """A constant argument; `what` names it in the error."""
    value = optional(arguments, place)
    if not isinstance(value, np.ndarray):
        raise node.error(f"its {what} must be constant")
    return value


def optional(arguments: Arguments, place: int) -> Argument:
    """An argument, or None where it is left out."""
    return arguments[place] if place < len(arguments) else None


def number(node: OnnxNode, arguments: Arguments, place: int, name: str) -> float | None:
    """An attribute of old versions that is an input of new ones."""
    if name in node.attributes:
        return float(node.attributes[name])
    if optional(arguments, place) is None:
        return None
    return float(np.ravel(array(node, arguments, place, name))[0])
