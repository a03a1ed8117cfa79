"""What each operator of a float graph becomes in an int8 graph."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np

from model.importing.calibration import Statistics
from model.importing.choices import Choices
from model.importing.float_graph import FloatGraph, Node, is_relu, is_relu6
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
from model.importing.rounding import Affine8, Weights, rounded
from model.int8.builder import GraphBuilder
from model.int8.geometry import extent
from model.int8.graph import Activation, Graph, Padding
from model.int8.operators.resize import nearest
from model.training.quantization import Range, symmetric

__all__ = ["Export"]


class Export:
    """One int8 graph in the making.

    Parameters
    ----------
    graph : FloatGraph
    statistics : Statistics
        Of its tensors.
    affines : dict of int to tuple
        Scale and zero point of each of its tensors.
    choices : Choices
    name : str
        Of the int8 graph.
    affine : tuple of float and int
        Scale and zero point of the int8 graph's input.

    Attributes
    ----------
    notes : list of str
        What had to be given up, a line each.
    """

    def __init__(
        self,
        graph: FloatGraph,
        statistics: Statistics,
        affines: dict[int, Affine8],
        choices: Choices,
        name: str,
        affine: Affine8,
    ) -> None:
        self.graph = graph
        self.statistics = statistics
        self.affines = affines
        self.choices = choices
        self.affine = affine
        self.builder = GraphBuilder(name, graph.shapes[0], *affine)
        self.at = {0: 0}
        self.notes: list[str] = []

    def run(self, labels: tuple[str, ...]) -> tuple[Graph, dict[int, int]]:
        """The graph, and its tensors by tensor of the float graph."""
        if self.affines[0] != self.affine:
            self.at[0] = self.builder.quantize(*self.affines[0])
        for node in self.graph.nodes:
            self.builder.last = self.at[node.inputs[0]]
            emit(node.operator, self, node)
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
        if self.choices.correct_bias:
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
            self.choices.sum_bits,
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
        mean = self.statistics[node.inputs[0]].mean
        if weights.ndim == 2:
            return np.broadcast_to(mean[:, np.newaxis], weights.shape)
        inputs, outputs = weights.shape[2:]
        # Each output channel's own input channels, where there are groups
        group = np.arange(outputs) // (outputs // (len(mean) // inputs))
        return np.broadcast_to(
            mean[group * inputs + np.arange(inputs)[:, np.newaxis]], weights.shape
        )


@singledispatch
def emit(operator: FloatOperator, export: Export, node: Node) -> None:
    """Append what int8 has for a node, whose operator decides; a new operator is a function here.

    Raises
    ------
    ModelError
        If int8 has nothing for it.
    """
    raise node.error("has no int8 form")


@emit.register
def _convolution(operator: Convolution, export: Export, node: Node) -> None:
    window = operator.window
    options: dict[str, Any] = {
        **export.output(node),
        "stride": window.stride,
        "padding": export.padding(node, window),
        "dilation": window.dilation,
    }
    found = export.weights(node, operator.weights, by_channel=True)
    if operator.is_depthwise:
        stored = found.stored.transpose(2, 0, 1, 3)
        export.builder.depthwise_conv_2d(stored, found.scale, found.bias, **options)
    else:
        # Fewer input channels in the weights than the input has mean groups, here as there.
        stored = found.stored.transpose(3, 0, 1, 2)
        export.builder.conv_2d(stored, found.scale, found.bias, **options)


@emit.register
def _transposed_convolution(operator: TransposedConvolution, export: Export, node: Node) -> None:
    builder = export.builder
    found = export.weights(node, operator.weights, by_channel=True)
    shape = export.graph.shapes[node.inputs[0]]
    rows, columns, channels = export.graph.shapes[node.output]
    kernel, stride = operator.weights.shape[:2], operator.stride
    top, left = operator.crop[:2]
    size, padding = (rows, columns), Padding.VALID
    if (top, left) != (0, 0):
        same = [extent(*each, 1, Padding.SAME).before for each in zip(size, kernel, stride)]
        if same == [top, left]:
            padding = Padding.SAME
        else:
            size = (
                max((shape[0] - 1) * stride[0] + kernel[0], rows + top),
                max((shape[1] - 1) * stride[1] + kernel[1], columns + left),
            )
    scale, zero_point = export.affines[node.output]
    builder.transpose_conv(
        found.stored.transpose(3, 0, 1, 2),
        found.scale,
        found.bias,
        scale=scale,
        zero_point=zero_point,
        stride=stride,
        padding=padding,
        size=size,
    )
    if size != (rows, columns):
        builder.slice((0, top, left, 0), (1, rows, columns, channels))


@emit.register
def _dense(operator: Dense, export: Export, node: Node) -> None:
    found = export.weights(node, operator.weights, export.choices.dense_by_channel)
    export.builder.fully_connected(
        np.ascontiguousarray(found.stored.T), found.scale, found.bias, **export.output(node)
    )


@emit.register
def _affine(operator: Affine, export: Export, node: Node) -> None:
    """By channel, a depthwise convolution of one tap; else a product and a sum with constants."""
    builder = export.builder
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


def _by_element(export: Export, node: Node, operator: Affine) -> None:
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
        seen = export.statistics[node.inputs[0]].range
        ends = np.multiply.outer([seen.low, seen.high], operator.factor)
        scale, zero_point = Range(float(ends.min()), float(ends.max())).affine()
        builder.mul(constant(operator.factor), scale=scale, zero_point=zero_point)
        builder.add(constant(operator.offset), **output)


@emit.register
def _max_pool(operator: MaxPool, export: Export, node: Node) -> None:
    if operator.window.dilation != (1, 1):
        raise node.error("dilation has no int8 form")
    source = export.statistics[node.inputs[0]].range
    # Where nothing is below 0, a 0 more changes no greatest value; else what is least does not.
    padding = export.padding(node, operator.window, None if source.low >= 0 else -128)
    export.builder.max_pool_2d(operator.window.kernel, operator.window.stride, padding)


@emit.register
def _average_pool(operator: AveragePool, export: Export, node: Node) -> None:
    window = operator.window
    if window.dilation != (1, 1):
        raise node.error("dilation has no int8 form")
    padding = Padding.VALID
    if any(window.pads) and any(operator.counted):
        top, left, bottom, right = window.pads
        export.builder.pad(top, bottom, left, right)
    elif any(window.pads):
        padding = Padding.SAME
    export.builder.average_pool_2d(window.kernel, window.stride, padding)


@emit.register
def _reduction(operator: Reduction, export: Export, node: Node) -> None:
    export.builder.mean(*export.affines[node.output])


@emit.register
def _binary(operator: Binary, export: Export, node: Node) -> None:
    builder = export.builder
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


@emit.register
def _function(operator: Function, export: Export, node: Node) -> None:
    builder = export.builder
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
            raise node.error("has no int8 form")


_GELU_SLOPE = 1.702

_LOGISTIC_END = 8.0
"""Where the sigmoid is within a byte's step of its ends."""


def _gelu(export: Export, node: Node) -> None:
    """sigmoid(1.702 x), which is the normal distribution's function within 0.0095.

    Source: Hendrycks, Gimpel, "Gaussian Error Linear Units" (2016), section 2.
    """
    builder = export.builder
    seen = export.statistics[node.inputs[0]].range
    end = min(_GELU_SLOPE * max(-seen.low, seen.high, 1e-3), _LOGISTIC_END)
    slope = builder.constant(np.array([127], np.int8), _GELU_SLOPE / 127)
    scale, zero_point = Range(-end, end).affine()
    builder.mul(slope, scale=scale, zero_point=zero_point)
    builder.logistic()


@emit.register
def _concatenation(operator: Concatenation, export: Export, node: Node) -> None:
    others = [export.at[index] for index in node.inputs[1:]]
    export.builder.concatenation(others, operator.axis + 1)


@emit.register
def _slice(operator: Slice, export: Export, node: Node) -> None:
    bounds = operator.begin, operator.end, operator.step
    begin, end, step = ((first, *each) for first, each in zip((0, 1, 1), bounds))
    if all(each == 1 for each in step):
        size = tuple(last - first for first, last in zip(begin, end))
        export.builder.slice(begin, size)
    else:
        export.builder.strided_slice(begin, end, step)


@emit.register
def _transpose(operator: Transpose, export: Export, node: Node) -> None:
    export.builder.transpose((0, *(axis + 1 for axis in operator.axes)))


@emit.register
def _resize(operator: Resize, export: Export, node: Node) -> None:
    builder = export.builder
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
    raise node.error("TensorFlow Lite has no such choice of the nearest pixels")


@emit.register
def _prelu(operator: PRelu, export: Export, node: Node) -> None:
    rank = len(export.graph.shapes[node.output])
    stored, slope_scale = symmetric(operator.slope.astype(np.float32), None)
    shape = (1, *[1] * (rank - stored.ndim), *stored.shape)
    scale, zero_point = export.affines[node.output]
    export.builder.prelu(
        stored.reshape(shape), float(slope_scale[0]), scale=scale, zero_point=zero_point
    )


@emit.register
def _pad(operator: Pad, export: Export, node: Node) -> None:
    scale, zero_point = export.affines[node.output]
    byte = None
    if operator.value:
        byte = int(np.clip(np.rint(operator.value / scale) + zero_point, -128, 127))
    export.builder.pad_by(operator.pads, byte)


@emit.register
def _reshape(operator: Reshape, export: Export, node: Node) -> None:
    export.builder.reshape(export.graph.shapes[node.output])


@emit.register
def _softmax(operator: Softmax, export: Export, node: Node) -> None:
    export.builder.softmax()
