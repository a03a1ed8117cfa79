"""From a float graph to an int8 graph, by TensorFlow Lite's rules.

The ranges of `model.importing.calibration` give each tensor its scale and zero point; tensors that
an operator must not requantise share theirs. Then each node becomes an operator, or a few.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
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
    PRelu,
    Reduction,
    Reshape,
    Resize,
    Sampling,
    Slice,
    Softmax,
    Transpose,
    TransposedConvolution,
    Window,
)
from model.importing.simplification import is_relu, is_relu6
from model.int8.builder import GraphBuilder
from model.int8.graph import Activation, Graph, Padding
from model.int8.operators.resize import nearest
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
    sum_bits : int
        Bits that sums of products fit into; where they would not, weights are made coarser. With
        more than the engine's accumulator has, it takes two passes.
    """

    clip: bool = False
    correct_bias: bool = False
    dense_by_channel: bool = False
    sum_bits: int = ACCUMULATOR_BITS


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
            raise _error(node, f"a clip to {low:g} .. {high:g}, without 0, has no int8 form")
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
    bits: int = ACCUMULATOR_BITS,
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
    bits : int
        Of the accumulator.
    """
    flat = weights.reshape(-1, weights.shape[-1])
    channels = flat.shape[1]
    if scale is None:
        _, scale = symmetric(flat.astype(np.float32), (0,) if by_channel else None)
    scale = np.broadcast_to(scale.astype(np.float64), (channels,)).copy()
    scale_in, zero_point = source
    coarser: set[int] = set()
    limit = 1 << (bits - 1)
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


_KEEPING = (AveragePool, MaxPool, Pad, Reshape, Resize, Slice, Transpose)


def _keeps(node: Node) -> bool:
    """Whether an operator's output has the scale of its inputs."""
    return isinstance(node.operator, _KEEPING) or _joins(node)


def _joins(node: Node) -> bool:
    """Whether an operator has several inputs, which must be of one scale."""
    if isinstance(node.operator, Binary):
        return node.operator.function in (BinaryKind.MAXIMUM, BinaryKind.MINIMUM)
    return isinstance(node.operator, Concatenation)


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
        outputs = tuple(self.at[tensor] for tensor in self.graph.outputs)
        return self.builder.build(labels, outputs), self.at

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

    def padding(self, node: Node, window: Window, byte: int | None = None) -> Padding:
        """SAME or VALID; where neither is meant, padding becomes a layer of its own.

        Parameters
        ----------
        node : Node
        window : Window
        byte : int, optional
            What pads; 0 without it.
        """
        if not any(window.pads):
            return Padding.VALID
        if window.is_same(self.graph.shapes[node.inputs[0]]):
            return Padding.SAME
        top, left, bottom, right = window.pads
        self.builder.pad_by(((top, bottom), (left, right), (0, 0)), byte)
        return Padding.VALID

    def weights(self, node: Node, weights: np.ndarray, by_channel: bool) -> Weights:
        operator = node.operator
        assert isinstance(operator, Convolution | Dense | TransposedConvolution)
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
            self.quantizer.choices.sum_bits,
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
        inputs, outputs = weights.shape[2:]
        # Each output channel's own input channels, where there are groups
        group = np.arange(outputs) // (outputs // (len(mean) // inputs))
        return np.broadcast_to(
            mean[group * inputs + np.arange(inputs)[:, np.newaxis]], weights.shape
        )


def _convolution(export: _Export, node: Node) -> None:
    operator = node.operator
    assert isinstance(operator, Convolution)
    window = operator.window
    options: dict[str, Any] = {
        **export.output(node),
        "stride": window.stride,
        "padding": export.padding(node, window),
        "dilation": window.dilation,
    }
    if operator.is_depthwise:
        found = export.weights(node, operator.weights, by_channel=True)
        stored = found.stored.transpose(2, 0, 1, 3)
        export.builder.depthwise_conv_2d(stored, found.scale, found.bias, **options)
    else:
        # The engine knows no groups: zeros for the channels of the others are the same.
        found = export.weights(node, operator.dense_weights(), by_channel=True)
        stored = found.stored.transpose(3, 0, 1, 2)
        export.builder.conv_2d(stored, found.scale, found.bias, **options)


def _transposed_convolution(export: _Export, node: Node) -> None:
    operator, builder = node.operator, export.builder
    assert isinstance(operator, TransposedConvolution)
    found = export.weights(node, operator.weights, by_channel=True)
    shape = export.graph.shapes[node.inputs[0]]
    rows, columns, channels = export.graph.shapes[node.output]
    full, before = [], []
    for axis, wanted in ((0, rows), (1, columns)):
        reach = (shape[axis] - 1) * operator.stride[axis] + operator.weights.shape[axis]
        full.append(reach)
        before.append(max(reach - wanted, 0) // 2)
    same = before == list(operator.crop[:2])
    top, left = operator.crop[:2]
    size = (rows, columns) if same else (max(full[0], rows + top), max(full[1], columns + left))
    scale, zero_point = export.affines[node.output]
    builder.transpose_conv(
        found.stored.transpose(3, 0, 1, 2),
        found.scale,
        found.bias,
        scale=scale,
        zero_point=zero_point,
        stride=operator.stride,
        padding=Padding.SAME if same else Padding.VALID,
        size=size,
    )
    if not same:
        builder.slice((0, top, left, 0), (1, rows, columns, channels))


def _dense(export: _Export, node: Node) -> None:
    operator = node.operator
    assert isinstance(operator, Dense)
    found = export.weights(node, operator.weights, export.quantizer.choices.dense_by_channel)
    export.builder.fully_connected(
        np.ascontiguousarray(found.stored.T), found.scale, found.bias, **export.output(node)
    )


def _affine(export: _Export, node: Node) -> None:
    """By channel, a depthwise convolution of one tap; else a product and a sum with constants."""
    operator, builder = node.operator, export.builder
    assert isinstance(operator, Affine)
    shape = export.graph.shapes[node.output]
    both = operator.by_channel(shape[-1])
    source = export.affines[node.inputs[0]]
    if both is None:
        _by_element(export, node, operator)
        return
    factor, offset = both
    found = rounded(factor.reshape(1, 1, 1, -1), offset, source, by_channel=True)
    if len(shape) != 3:
        builder.reshape((1, 1, shape[0]))
    builder.depthwise_conv_2d(found.stored, found.scale, found.bias, **export.output(node))
    if len(shape) != 3:
        builder.reshape(shape)


def _by_element(export: _Export, node: Node, operator: Affine) -> None:
    builder, rank = export.builder, len(export.graph.shapes[node.output])

    def constant(values: np.ndarray) -> int:
        scale, zero_point = Range(float(values.min()), float(values.max())).affine()
        stored = np.clip(np.rint(values / scale) + zero_point, -128, 127).astype(np.int8)
        shape = (1, *[1] * (rank - values.ndim), *values.shape)
        return builder.constant(stored.reshape(shape), scale, zero_point)

    output = export.output(node)
    if (operator.factor == 1).all():
        builder.add(constant(operator.offset), **output)
    elif not operator.offset.any():
        builder.mul(constant(operator.factor), **output)
    else:
        seen = export.quantizer.statistics[node.inputs[0]].range
        ends = np.multiply.outer([seen.low, seen.high], operator.factor)
        scale, zero_point = Range(float(ends.min()), float(ends.max())).affine()
        builder.mul(constant(operator.factor), scale=scale, zero_point=zero_point)
        builder.add(constant(operator.offset), **output)


def _max_pool(export: _Export, node: Node) -> None:
    operator = node.operator
    assert isinstance(operator, MaxPool)
    if operator.window.dilation != (1, 1):
        raise _error(node, "dilation has no int8 form")
    source = export.quantizer.statistics[node.inputs[0]].range
    # Where nothing is below 0, a 0 more changes no greatest value; else what is least does not.
    padding = export.padding(node, operator.window, None if source.low >= 0 else -128)
    export.builder.max_pool_2d(operator.window.kernel, operator.window.stride, padding)


def _average_pool(export: _Export, node: Node) -> None:
    operator = node.operator
    assert isinstance(operator, AveragePool)
    window = operator.window
    if window.dilation != (1, 1):
        raise _error(node, "dilation has no int8 form")
    padding = Padding.VALID
    if any(window.pads) and any(operator.counted):
        top, left, bottom, right = window.pads
        export.builder.pad(top, bottom, left, right)
    elif any(window.pads):
        padding = Padding.SAME
    export.builder.average_pool_2d(window.kernel, window.stride, padding)


def _reduction(export: _Export, node: Node) -> None:
    operator = node.operator
    assert isinstance(operator, Reduction)
    export.builder.mean(*export.affines[node.output])


def _binary(export: _Export, node: Node) -> None:
    operator, builder = node.operator, export.builder
    assert isinstance(operator, Binary)
    other = export.at[node.inputs[1]]
    match operator.function:
        case BinaryKind.ADD:
            builder.add(other, **export.output(node))
        case BinaryKind.SUB:
            builder.sub(other, **export.output(node))
        case BinaryKind.MUL:
            builder.mul(other, **export.output(node))
        case BinaryKind.MAXIMUM:
            builder.maximum(other)
        case BinaryKind.MINIMUM:
            builder.minimum(other)


def _function(export: _Export, node: Node) -> None:
    operator, builder = node.operator, export.builder
    assert isinstance(operator, Function)
    scale, zero_point = affine = export.affines[node.output]
    source = builder.last
    match operator.name:
        case "identity" if is_relu(node.clamp):
            builder.relu(*affine)
        case "identity":
            builder.quantize(*affine)
        case "leaky_relu":
            builder.leaky_relu(operator.alpha, *affine)
        case "elu" if operator.alpha == 1:
            builder.elu(*affine)
        case "abs":
            builder.abs(*affine)
        case "sigmoid":
            builder.logistic()
        case "tanh":
            builder.tanh()
        case "hard_swish":
            builder.hard_swish(*affine)
        case "silu":
            builder.logistic()
            builder.mul(source, scale=scale, zero_point=zero_point)
        case "gelu" | "gelu_by_tanh":
            _gelu(export, node)
            builder.mul(source, scale=scale, zero_point=zero_point)
        case _:
            raise _error(node, "has no int8 form")


_GELU_SLOPE = 1.702
_LOGISTIC_END = 8.0
"""Where the sigmoid is within a byte's step of its ends."""


def _gelu(export: _Export, node: Node) -> None:
    """sigmoid(1.702 x), which is the normal distribution's function within 0.0095.

    Source: Hendrycks, Gimpel, "Gaussian Error Linear Units" (2016), section 2.
    """
    builder = export.builder
    seen = export.quantizer.statistics[node.inputs[0]].range
    end = min(_GELU_SLOPE * max(-seen.low, seen.high, 1e-3), _LOGISTIC_END)
    slope = builder.constant(np.array([127], np.int8), _GELU_SLOPE / 127)
    scale, zero_point = Range(-end, end).affine()
    builder.mul(slope, scale=scale, zero_point=zero_point)
    builder.logistic()


def _concatenation(export: _Export, node: Node) -> None:
    operator = node.operator
    assert isinstance(operator, Concatenation)
    others = [export.at[index] for index in node.inputs[1:]]
    export.builder.concatenation(others, operator.axis + 1)


def _slice(export: _Export, node: Node) -> None:
    operator = node.operator
    assert isinstance(operator, Slice)
    begin, end, step = ((first, *each) for first, each in zip((0, 1, 1), _bounds(operator)))
    if all(each == 1 for each in step):
        size = tuple(last - first for first, last in zip(begin, end))
        export.builder.slice(begin, size)
    else:
        export.builder.strided_slice(begin, end, step)


def _bounds(operator: Slice) -> tuple[tuple[int, ...], ...]:
    return operator.begin, operator.end, operator.step


def _transpose(export: _Export, node: Node) -> None:
    operator = node.operator
    assert isinstance(operator, Transpose)
    export.builder.transpose((0, *(axis + 1 for axis in operator.axes)))


def _resize(export: _Export, node: Node) -> None:
    operator, builder = node.operator, export.builder
    assert isinstance(operator, Resize)
    corners, half = operator.sampling is Sampling.ALIGN_CORNERS, False
    if operator.linear:
        half = operator.sampling is Sampling.HALF_PIXEL
        builder.resize_bilinear(*operator.size, align_corners=corners, half_pixel=half)
        return
    shape = export.graph.shapes[node.inputs[0]]
    wanted = [operator.nearest(axis, shape[axis]) for axis in (0, 1)]
    before = builder.last
    for corners, half in ((False, False), (False, True), (True, False), (True, True)):
        builder.last = before
        tried = GraphBuilder("trial", shape)
        tried.resize_nearest_neighbor(*operator.size, align_corners=corners, half_pixel=half)
        graph = tried.build()
        found = nearest(graph, graph.operators[0])
        if all(np.array_equal(*pair) for pair in zip(found, wanted)):
            builder.resize_nearest_neighbor(*operator.size, corners, half)
            return
    raise _error(node, "TensorFlow Lite has no such choice of the nearest pixels")


def _prelu(export: _Export, node: Node) -> None:
    operator = node.operator
    assert isinstance(operator, PRelu)
    rank = len(export.graph.shapes[node.output])
    stored, slope_scale = symmetric(operator.slope.astype(np.float32), None)
    shape = (1, *[1] * (rank - stored.ndim), *stored.shape)
    scale, zero_point = export.affines[node.output]
    export.builder.prelu(
        stored.reshape(shape), float(slope_scale[0]), scale=scale, zero_point=zero_point
    )


def _pad(export: _Export, node: Node) -> None:
    operator = node.operator
    assert isinstance(operator, Pad)
    scale, zero_point = export.affines[node.output]
    byte = None
    if operator.value:
        byte = int(np.clip(np.rint(operator.value / scale) + zero_point, -128, 127))
    export.builder.pad_by(operator.pads, byte)


def _reshape(export: _Export, node: Node) -> None:
    export.builder.reshape(export.graph.shapes[node.output])


def _softmax(export: _Export, node: Node) -> None:
    export.builder.softmax()


_EMITTERS: dict[type[FloatOperator], Callable[[_Export, Node], None]] = {
    Affine: _affine,
    AveragePool: _average_pool,
    Binary: _binary,
    Concatenation: _concatenation,
    Convolution: _convolution,
    Dense: _dense,
    Function: _function,
    MaxPool: _max_pool,
    PRelu: _prelu,
    Pad: _pad,
    Reduction: _reduction,
    Reshape: _reshape,
    Resize: _resize,
    Slice: _slice,
    Softmax: _softmax,
    Transpose: _transpose,
    TransposedConvolution: _transposed_convolution,
}
"""What int8 has for each operator: a new one is a function here."""
