"""From a float graph to an int8 graph, by TensorFlow Lite's rules.

The ranges of `model.importing.calibration` give each tensor its scale and zero point; tensors that
an operator must not requantise share theirs. Then each node becomes an operator, or a few.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from model.importing.calibration import Statistics
from model.importing.choices import Choices
from model.importing.float_graph import FloatGraph, Node, is_relu, is_relu6
from model.importing.float_operators import (
    AveragePool,
    Binary,
    BinaryKind,
    Concatenation,
    Convolution,
    Dense,
    Function,
    MaxPool,
    Pad,
    Reshape,
    Resize,
    Slice,
    Softmax,
    Transpose,
    TransposedConvolution,
)
from model.importing.int8_operators import Export
from model.importing.rounding import Affine8
from model.int8.graph import Graph
from model.training.quantization import Range

__all__ = ["Quantizer"]

_SIGMOID: Affine8 = (1 / 256, -128)
_TANH: Affine8 = (1 / 128, 0)


@dataclass(eq=False)
class Quantizer:
    """The int8 form of a float graph, made anew whenever its weights have changed.

    Parameters
    ----------
    graph : FloatGraph
        Simplified; it gets nodes that requantise, where a concatenation needs them.
    statistics : Statistics
        Of its tensors.
    affine : tuple of float and int
        Scale and zero point of the input.
    choices : Choices

    Attributes
    ----------
    affines : dict of int to tuple
        Scale and zero point of each tensor of the float graph.
    notes : list of str
        What the last `export` had to give up, a line each.

    Raises
    ------
    ModelError
        If a node has no int8 form.
    """

    graph: FloatGraph
    statistics: Statistics
    affine: Affine8
    choices: Choices = field(default_factory=Choices)

    def __post_init__(self) -> None:
        self.notes: list[str] = []
        self._separate()
        self.affines = self._assign()

    # Scales

    def _separate(self) -> None:
        """A node that requantises before inputs are joined, where the scale of one is given."""
        graph = self.graph
        for node in list(graph.nodes):
            if not _joins(node):
                continue
            for place, tensor in enumerate(node.inputs):
                if self._is_given(tensor):
                    between = graph.tensor(graph.shapes[tensor])
                    index = graph.nodes.index(node)
                    quantize = Node(node.name, Function("identity"), [tensor], between)
                    graph.nodes.insert(index, quantize)
                    self.statistics[between] = self.statistics[tensor]
                    node.inputs[place] = between

    def _is_given(self, tensor: int) -> bool:
        """Whether a tensor's scale is not ours to choose, or bounds its values."""
        while True:
            node = self.graph.producer(tensor)
            if node is None or tensor in self.graph.fixed or self._given(node) is not None:
                return True
            if node.clamp is not None and not (is_relu(node.clamp) or is_relu6(node.clamp)):
                return True
            if not _keeps(node):
                return False
            tensor = node.inputs[0]

    @staticmethod
    def _given(node: Node) -> Affine8 | None:
        """What TensorFlow Lite says that an operator's output must have."""
        match node.operator:
            case Function("sigmoid") | Softmax():
                return _SIGMOID
            case Function("tanh"):
                return _TANH
        return None

    def _range(self, tensor: int) -> Range:
        seen = self.statistics[tensor]
        return seen.clipped() if self.choices.clip else seen.range

    def _assign(self) -> dict[int, Affine8]:
        """Scale and zero point of every tensor."""
        graph = self.graph
        root: dict[int, int] = {}

        def find(tensor: int) -> int:
            while root.get(tensor, tensor) != tensor:
                tensor = root[tensor]
            return tensor

        for node in graph.nodes:
            if _keeps(node):
                for tensor in node.inputs:
                    root[find(node.output)] = find(tensor)
        given: dict[int, Affine8] = {0: graph.fixed.get(0, self.affine)}
        ranges: dict[int, list[Range]] = {}
        for tensor in (0, *(node.output for node in graph.nodes)):
            ranges.setdefault(find(tensor), [])
        for node in graph.nodes:
            group = find(node.output)
            fixed = graph.fixed.get(node.output, self._given(node))
            if fixed is not None:
                given.setdefault(group, fixed)
            elif not _keeps(node) or _joins(node):
                ranges[group].append(self._bounded(node))
            elif isinstance(node.operator, Pad) and np.isfinite(node.operator.value):
                ranges[group].append(Range(node.operator.value, node.operator.value))
        given[find(0)] = given[0]
        affines: dict[int, Affine8] = {}
        makers: list[Node | None] = [None, *graph.nodes]
        for maker in makers:
            tensor = 0 if maker is None else maker.output
            group = find(tensor)
            if group not in affines:
                chosen = given.get(group)
                if chosen is None:
                    low = min(each.low for each in ranges[group])
                    high = max(each.high for each in ranges[group])
                    chosen = Range(low, high).affine()
                    # Below a product's own scale there is nothing to tell apart.
                    least = self._least_scale(maker, affines, find)
                    if chosen[0] < least:
                        middle = (low + high) / 2
                        half = max(least * 255 / 2, (high - low) / 2)
                        low = 0.0 if low >= 0 else middle - half
                        high = max(high, low + 2 * half)
                        chosen = Range(low, high).affine()
                affines[group] = chosen
        return {tensor: affines[find(tensor)] for tensor in (0, *(n.output for n in graph.nodes))}

    def _bounded(self, node: Node) -> Range:
        found = self._range(node.output)
        if node.clamp is None:
            return found
        low, high = node.clamp
        if low > 0 or high < 0:
            raise node.error(f"a clip to {low:g} .. {high:g}, without 0, has no int8 form")
        return Range(max(found.low, low), min(found.high, high))

    def _least_scale(
        self, node: Node | None, affines: dict[int, Affine8], find: Callable[[int], int]
    ) -> float:
        if node is None or not isinstance(
            node.operator, Convolution | Dense | TransposedConvolution
        ):
            return 0.0
        source = affines.get(find(node.inputs[0]))
        if source is None:
            return 0.0
        return 1.01 * source[0] * float(np.abs(node.operator.weights).max()) / 127

    # Operators

    def export(self, name: str, labels: tuple[str, ...] = ()) -> tuple[Graph, dict[int, int]]:
        """The int8 graph, with the weights as they are now.

        Returns
        -------
        graph : Graph
        tensors : dict of int to int
            By tensor of the float graph, the int8 graph's.
        """
        export = Export(self.graph, self.statistics, self.affines, self.choices, name, self.affine)
        result = export.run(labels)
        self.notes = export.notes
        return result


_KEEPING = (AveragePool, MaxPool, Pad, Reshape, Resize, Slice, Transpose)


def _keeps(node: Node) -> bool:
    """Whether an operator's output has the scale of its inputs."""
    return isinstance(node.operator, _KEEPING) or _joins(node)


def _joins(node: Node) -> bool:
    """Whether an operator has several inputs, which must be of one scale."""
    if isinstance(node.operator, Binary):
        return node.operator.function in (BinaryKind.MAXIMUM, BinaryKind.MINIMUM)
    return isinstance(node.operator, Concatenation)
