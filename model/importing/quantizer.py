"""From a float graph to an int8 graph, by TensorFlow Lite's rules.

The ranges of `model.importing.calibration` give each tensor its scale and zero point; tensors that
an operator must not requantise share theirs. Then each node becomes an operator, or a few.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from model.errors import ModelError
from model.importing.calibration import Statistics
from model.importing.float_graph import FloatGraph, Node
from model.importing.float_operators import (
    Affine,
    AveragePool,
    Binary,
    BinaryKind,
    Concatenation,
    Convolution,
    Dense,
    FloatOperator,
    Function,
    MaxPool,
    Pad,
    Reduction,
    Reshape,
    Resize,
    Slice,
    Softmax,
    Transpose,
    Window,
)
from model.importing.simplification import is_relu, is_relu6
from model.int8.builder import GraphBuilder
from model.int8.geometry import extent
from model.int8.graph import Activation, Graph, Padding
from model.training.quantization import Range, int32_bias, symmetric

__all__ = ["Choices", "Quantizer"]

ACCUMULATOR_BITS = 24
"""Of the narrowest engine: sums of products fit into these, with the bias into one bit less."""

Affine8 = tuple[float, int]
"""Scale and zero point."""

_SIGMOID: Affine8 = (1 / 256, -128)
_TANH: Affine8 = (1 / 128, 0)


@dataclass(frozen=True)
class Choices:
    """What is decided by trying.

    Attributes
    ----------
    clip : bool
        Cut ranges where rounding and clipping together err least; else take them whole.
    correct_bias : bool
        Take the mean of what rounding the weights changes out of the biases.
    dense_by_channel : bool
        A weight scale for each output of a dense layer; else one for all.
    """

    clip: bool = False
    correct_bias: bool = False
    dense_by_channel: bool = False


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
        """A node that requantises before a concatenation, where an input's scale is given."""
        graph = self.graph
        for node in list(graph.nodes):
            if not isinstance(node.operator, Concatenation):
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
            elif not _keeps(node) or isinstance(node.operator, Concatenation):
                ranges[group].append(self._bounded(node))
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
            raise _error(node, f"a clip to {low:g} .. {high:g}, without 0, has no int8 form")
        return Range(max(found.low, low), min(found.high, high))

    def _least_scale(
        self, node: Node | None, affines: dict[int, Affine8], find: Callable[[int], int]
    ) -> float:
        if node is None or not isinstance(node.operator, Convolution | Dense):
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
        export = _Export(self, name)
        result = export.run(labels)
        self.notes = export.notes
        return result


@dataclass(frozen=True, eq=False)
class Weights:
    """A layer's weights and bias in integers; ``coarser`` lists channels that had to give way."""

    stored: np.ndarray
    scale: np.ndarray
    bias: np.ndarray
    coarser: tuple[int, ...]


def rounded(
    weights: np.ndarray,
    bias: np.ndarray,
    source: Affine8,
    by_channel: bool,
    scale: np.ndarray | None = None,
    mean: np.ndarray | None = None,
) -> Weights:
    """Weights (..., output channels) to int8, and the bias to int32.

    Where a channel's sums would not fit into the accumulator, its weights are made coarser.

    Parameters
    ----------
    weights, bias : ndarray of float64
    source : tuple of float and int
        Scale and zero point of the layer's input.
    by_channel : bool
        A scale for each output channel, or one.
    scale : ndarray, optional
        A scale that is given.
    mean : ndarray, optional
        Of the inputs, shape (..., output channels): what rounding the weights changes in the mean
        is taken out of the bias.
    """
    flat = weights.reshape(-1, weights.shape[-1])
    channels = flat.shape[1]
    if scale is None:
        _, scale = symmetric(flat.astype(np.float32), (0,) if by_channel else None)
    scale = np.broadcast_to(scale.astype(np.float64), (channels,)).copy()
    scale_in, zero_point = source
    coarser: set[int] = set()
    limit = 1 << (ACCUMULATOR_BITS - 1)
    while True:
        scale = scale.astype(np.float32).astype(np.float64)
        stored = np.clip(np.rint(flat / scale), -127, 127).astype(np.int64)
        exact = bias
        if mean is not None:
            exact = bias - ((stored * scale - flat) * mean.reshape(flat.shape)).sum(axis=0)
        low = np.minimum(-128 * stored, 127 * stored).sum(axis=0)
        high = np.maximum(-128 * stored, 127 * stored).sum(axis=0)
        whole = np.rint(exact / (scale_in * scale)) - zero_point * stored.sum(axis=0)
        over = np.maximum(
            np.maximum(-low, high) / limit,
            2 * np.maximum(np.maximum(-(low + whole), high + whole), np.abs(whole)) / limit,
        )
        wide = over >= 1
        if not wide.any():
            break
        if not by_channel:
            wide[:] = True
            over[:] = over.max()
        coarser.update(np.flatnonzero(wide & (stored != 0).any(axis=0)).tolist())
        scale = np.where(wide, scale * over * 1.002, scale)
    one = scale if by_channel else scale[:1]
    return Weights(
        stored.reshape(weights.shape).astype(np.int8),
        one.astype(np.float32),
        int32_bias(exact, scale_in, scale.astype(np.float32)),
        tuple(sorted(coarser)),
    )


def _error(node: Node, reason: str) -> ModelError:
    return ModelError(f"node {node.name} ({node.operator.kind}): {reason}")


_KEEPING = (AveragePool, Concatenation, MaxPool, Pad, Reshape, Resize, Slice, Transpose)


def _keeps(node: Node) -> bool:
    """Whether an operator's output has the scale of its inputs."""
    return isinstance(node.operator, _KEEPING)


class _Export:
    """One graph in the making."""

    def __init__(self, quantizer: Quantizer, name: str) -> None:
        self.quantizer = quantizer
        self.graph = quantizer.graph
        self.affines = quantizer.affines
        scale, zero_point = quantizer.affine
        self.builder = GraphBuilder(name, self.graph.shapes[0], scale, zero_point)
        self.at = {0: 0}
        self.notes: list[str] = []

    def run(self, labels: tuple[str, ...]) -> tuple[Graph, dict[int, int]]:
        if self.affines[0] != self.quantizer.affine:
            self.at[0] = self.builder.quantize(*self.affines[0])
        for node in self.graph.nodes:
            self.builder.last = self.at[node.inputs[0]]
            emit = _EMITTERS.get(type(node.operator))
            if emit is None:
                raise _error(node, "has no int8 form")
            emit(self, node)
            self.at[node.output] = self.builder.last
        outputs = [self.at[tensor] for tensor in self.graph.outputs]
        if len(outputs) != 1:
            names = ", ".join(self.graph.output_names)
            raise ModelError(f"has {len(outputs)} outputs ({names}): choose one with --tensor")
        (self.builder.last,) = outputs
        return self.builder.build(labels), self.at

    def output(self, node: Node) -> dict[str, Any]:
        """Scale, zero point and clamp of a node's output, as the builder's methods take them."""
        scale, zero_point = self.affines[node.output]
        activation = Activation.NONE
        if is_relu(node.clamp):
            activation = Activation.RELU
        elif is_relu6(node.clamp):
            activation = Activation.RELU6
        # Any other clamp is where the range ends.
        return {"scale": scale, "zero_point": zero_point, "activation": activation}

    def padding(self, node: Node, window: Window, zeros: bool) -> Padding:
        """SAME or VALID; where neither is meant, padding becomes a layer of its own.

        Parameters
        ----------
        node : Node
        window : Window
        zeros : bool
            Whether zeros may stand for the padding.
        """
        if not any(window.pads):
            return Padding.VALID
        if self.is_same(node, window):
            return Padding.SAME
        if not zeros:
            raise _error(node, f"padding of {window.pads}, which is not SAME, has no int8 form")
        top, left, bottom, right = window.pads
        self.builder.pad(top, bottom, left, right)
        return Padding.VALID

    def is_same(self, node: Node, window: Window) -> bool:
        """Whether padding is what TensorFlow's SAME gives."""
        shape = self.graph.shapes[node.inputs[0]]
        for axis in (0, 1):
            found = extent(
                shape[axis],
                window.kernel[axis],
                window.stride[axis],
                window.dilation[axis],
                Padding.SAME,
            )
            positions = window.positions(shape)[axis]
            # Padding behind the last window does nothing.
            if (found.positions, found.before) != (positions, window.pads[axis]):
                return False
        return True

    def weights(self, node: Node, weights: np.ndarray, by_channel: bool) -> Weights:
        operator = node.operator
        assert isinstance(operator, Convolution | Dense)
        mean = None
        if self.quantizer.choices.correct_bias:
            mean = self.mean(node, weights)
        scale = operator.weight_scale
        if scale is not None and scale.size not in (1, weights.shape[-1]):
            scale = None
        found = rounded(
            weights,
            operator.bias,
            self.affines[node.inputs[0]],
            by_channel or (scale is not None and scale.size > 1),
            scale,
            mean,
        )
        if found.coarser:
            count = len(found.coarser)
            self.notes.append(
                f"{node.name}: weights of {count} channel{'s' if count > 1 else ''} made coarser "
                f"to fit the accumulators"
            )
        return found

    def mean(self, node: Node, weights: np.ndarray) -> np.ndarray:
        """Mean input of each weight, shape as the weights."""
        mean = self.quantizer.statistics[node.inputs[0]].mean
        if weights.ndim == 2:
            return np.broadcast_to(mean[:, np.newaxis], weights.shape)
        if weights.shape[2] == 1 and len(mean) > 1:  # depthwise
            return np.broadcast_to(np.repeat(mean, weights.shape[3] // len(mean)), weights.shape)
        return np.broadcast_to(mean[:, np.newaxis], weights.shape)


def _convolution(export: _Export, node: Node) -> None:
    operator = node.operator
    assert isinstance(operator, Convolution)
    window = operator.window
    padding = export.padding(node, window, zeros=True)
    options: dict[str, Any] = {
        **export.output(node),
        "stride": window.stride,
        "padding": padding,
        "dilation": window.dilation,
    }
    if operator.is_depthwise:
        found = export.weights(node, operator.weights, by_channel=True)
        stored = found.stored.transpose(2, 0, 1, 3)
        export.builder.depthwise_conv_2d(stored, found.scale, found.bias, **options)
        return
    found = export.weights(node, operator.dense_weights(), by_channel=True)
    stored = found.stored.transpose(3, 0, 1, 2)
    export.builder.conv_2d(stored, found.scale, found.bias, **options)


def _dense(export: _Export, node: Node) -> None:
    operator = node.operator
    assert isinstance(operator, Dense)
    found = export.weights(node, operator.weights, export.quantizer.choices.dense_by_channel)
    export.builder.fully_connected(
        np.ascontiguousarray(found.stored.T), found.scale, found.bias, **export.output(node)
    )


def _affine(export: _Export, node: Node) -> None:
    """By channel: a depthwise convolution of one tap."""
    operator = node.operator
    assert isinstance(operator, Affine)
    shape = export.graph.shapes[node.output]
    both = operator.by_channel(shape[-1])
    if both is None:
        raise _error(node, "a constant for each pixel has no int8 form")
    factor, offset = both
    found = rounded(factor.reshape(1, 1, 1, -1), offset, export.affines[node.inputs[0]], True)
    if len(shape) != 3:
        export.builder.reshape((1, 1, shape[0]))
    export.builder.depthwise_conv_2d(found.stored, found.scale, found.bias, **export.output(node))
    if len(shape) != 3:
        export.builder.reshape(shape)


def _max_pool(export: _Export, node: Node) -> None:
    operator = node.operator
    assert isinstance(operator, MaxPool)
    source = export.quantizer.statistics[node.inputs[0]].range
    # Where nothing is below 0, a 0 more changes no greatest value.
    padding = export.padding(node, operator.window, zeros=source.low >= 0)
    if operator.window.dilation != (1, 1):
        raise _error(node, "dilation has no int8 form")
    export.builder.max_pool_2d(operator.window.kernel, operator.window.stride, padding)


def _average_pool(export: _Export, node: Node) -> None:
    operator = node.operator
    assert isinstance(operator, AveragePool)
    window = operator.window
    if window.dilation != (1, 1):
        raise _error(node, "dilation has no int8 form")
    counts = operator.counts(export.graph.shapes[node.inputs[0]])
    everything = bool((counts == prod(window.kernel)).all())
    if (
        any(window.pads)
        and not everything
        and not (export.is_same(node, window) and not any(operator.counted))
    ):
        raise _error(node, f"padding of {window.pads} that does not count has no int8 form")
    padding = Padding.SAME
    if everything or not any(window.pads):
        padding = Padding.VALID
        if any(window.pads):
            top, left, bottom, right = window.pads
            export.builder.pad(top, bottom, left, right)
    export.builder.average_pool_2d(window.kernel, window.stride, padding)


def _reduction(export: _Export, node: Node) -> None:
    operator = node.operator
    assert isinstance(operator, Reduction)
    export.builder.mean(*export.affines[node.output])


def _binary(export: _Export, node: Node) -> None:
    operator = node.operator
    assert isinstance(operator, Binary)
    shapes = [export.graph.shapes[index] for index in node.inputs]
    if operator.function is not BinaryKind.ADD or shapes[0] != shapes[1]:
        raise _error(node, "has no int8 form")
    export.builder.add(export.at[node.inputs[1]], **export.output(node))


def _function(export: _Export, node: Node) -> None:
    operator, builder = node.operator, export.builder
    assert isinstance(operator, Function)
    affine = export.affines[node.output]
    match operator.name:
        case "identity" if is_relu(node.clamp):
            builder.relu(*affine)
            return
        case "identity":
            builder.quantize(*affine)
            return
        case "leaky_relu":
            builder.leaky_relu(operator.alpha, *affine)
        case "sigmoid":
            builder.logistic()
        case "tanh":
            builder.tanh()
        case "hard_swish":
            builder.hard_swish(*affine)
        case _:
            raise _error(node, "has no int8 form")
    if node.clamp is not None:
        raise _error(node, "a clip behind it has no int8 form")


def _pad(export: _Export, node: Node) -> None:
    operator = node.operator
    assert isinstance(operator, Pad)
    if len(operator.pads) != 3 or any(operator.pads[2]) or operator.value:
        raise _error(node, f"padding of {operator.pads} with {operator.value:g} has no int8 form")
    (top, bottom), (left, right), _ = operator.pads
    export.builder.pad(top, bottom, left, right)


def _reshape(export: _Export, node: Node) -> None:
    export.builder.reshape(export.graph.shapes[node.output])


def _softmax(export: _Export, node: Node) -> None:
    export.builder.softmax()


_EMITTERS: dict[type[FloatOperator], Callable[[_Export, Node], None]] = {
    Affine: _affine,
    AveragePool: _average_pool,
    Binary: _binary,
    Convolution: _convolution,
    Dense: _dense,
    Function: _function,
    MaxPool: _max_pool,
    Pad: _pad,
    Reduction: _reduction,
    Reshape: _reshape,
    Softmax: _softmax,
}
"""What int8 has for each operator: a new one is a function here."""
