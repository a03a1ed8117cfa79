"""From a float `.tflite` model to a float graph.

Weights may be float32, float16 behind a DEQUANTIZE, or int8 with a scale, as "dynamic range"
quantisation leaves them. Tensors have channels last, as ours have; a sequence (steps, channels) is
a picture of height 1. What operators compute: https://www.tensorflow.org/mlir/tfl_ops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, prod
from pathlib import Path
from typing import Any

import numpy as np

from model.errors import ModelError
from model.importing.float_graph import Clamp, FloatGraph
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
    Nearest,
    Pad,
    PRelu,
    Reduction,
    ReductionKind,
    Reshape,
    Resize,
    Sampling,
    Shape,
    Slice,
    Softmax,
    Transpose,
    TransposedConvolution,
    Window,
)
from model.int8 import tflite
from model.int8.geometry import extent
from model.int8.graph import ABSENT, Activation, Graph, Operator, OperatorKind, Tensor
from model.int8.operators.slicing import slices

__all__ = ["load"]

_MAX_FILE_BYTES = 64 << 20

_FLOATS = ("float32", "float16")

_CLAMPS: dict[Activation, Clamp] = {
    Activation.RELU: (0.0, inf),
    Activation.RELU6: (0.0, 6.0),
    Activation.RELU_N1_TO_1: (-1.0, 1.0),
}


def load(path: Path) -> FloatGraph:
    """Read a float `.tflite` file.

    Raises
    ------
    ModelError
        If it cannot be read or converted, or is an int8 model. The text is without the file's name.
    """
    try:
        size = path.stat().st_size
        if size > _MAX_FILE_BYTES:
            raise ModelError(f"{size} bytes; {_MAX_FILE_BYTES} are possible")
        source, missing = tflite.parse(path.read_bytes(), "float")
    except OSError as error:
        raise ModelError(f"{error.strerror or error}") from error
    if missing:
        raise missing[0].error
    if len(source.inputs) != 1 or not source.outputs:
        raise ModelError(f"has {len(source.inputs)} inputs; one is possible")
    numbers = range(len(source.tensors))
    used = [*source.inputs, *source.outputs]
    used += [each for operator in source.operators for each in operator.outputs]
    used += [each for operator in source.operators for each in operator.inputs if each != ABSENT]
    if any(each not in numbers for each in used):
        raise ModelError("is damaged: a tensor that it names does not exist")
    if source.input.dtype not in _FLOATS:
        raise ModelError(
            f"its input is {source.input.dtype}: it is quantised already, and needs no import"
        )
    return _Reader(source).read()


def _ours(shape: Sequence[int]) -> Shape:
    """Our shape for one without the batch: a sequence has height 1, a single number is a vector."""
    shape = tuple(shape)
    if len(shape) == 2:
        return (1, *shape)
    return shape or (1,)


class _Reader:
    def __init__(self, source: Graph) -> None:
        self.source = source
        self.graph = FloatGraph()
        self.tensors: dict[int, int] = {}
        self.constants: dict[int, np.ndarray] = {}

    def read(self) -> FloatGraph:
        for index, tensor in enumerate(self.source.tensors):
            if tensor.data is not None:
                self.constants[index] = _real(tensor)
        (feed,) = self.source.inputs
        self.tensors[feed] = self.graph.tensor(_ours(self.shape(feed)))
        for operator in self.source.operators:
            try:
                self._take(operator)
            except ModelError as error:
                text = str(error)
                raise error if text.startswith("layer ") else self.error(operator, text) from error
            except (AssertionError, IndexError, KeyError, TypeError, ValueError) as error:
                raise self.error(operator, "its inputs or options make no sense") from error
        for index in self.source.outputs:
            if index not in self.tensors or self.tensors[index] == 0:
                raise ModelError("an output depends on no input, or is the input itself")
            self.graph.outputs.append(self.tensors[index])
            self.graph.output_names.append(self.source.tensors[index].name)
        return self.graph

    @staticmethod
    def error(operator: Operator, reason: str) -> ModelError:
        return ModelError(f"layer {operator.name} ({operator.kind.value}): {reason}")

    def shape(self, index: int) -> Shape:
        """Shape of a tensor without the batch, which is 1."""
        shape = self.source.tensors[index].shape
        if not 1 <= len(shape) <= 4 or shape[0] != 1:
            text = "x".join(map(str, shape))
            raise ModelError(f"a tensor has shape {text}; the first of one to four sizes must be 1")
        return shape[1:]

    def live(self, operator: Operator, place: int = 0) -> int:
        """Our tensor for an input that depends on the model's input."""
        index = operator.inputs[place]
        if index not in self.tensors:
            raise self.error(operator, f"its input {place + 1} must depend on the model's input")
        return self.tensors[index]

    def array(self, operator: Operator, place: int, what: str) -> np.ndarray:
        index = operator.inputs[place] if place < len(operator.inputs) else ABSENT
        if index not in self.constants:
            raise self.error(operator, f"its {what} must be constant")
        return self.constants[index]

    def bias(self, operator: Operator, place: int, channels: int) -> np.ndarray:
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

    def _take(self, operator: Operator) -> None:
        live = [index for index in operator.inputs if index in self.tensors]
        if not live:
            self._constant(operator)
            return
        build = _OPERATORS.get(operator.kind)
        if build is None:
            raise self.error(operator, "is not supported")
        made = build(self, operator)
        results = made if isinstance(made, list) else [made]
        for index, tensor in zip(operator.outputs, results):
            wanted = _ours(self.shape(index))
            if self.graph.shapes[tensor] != wanted:
                tensor = self.graph.append(Reshape(wanted), [tensor], operator.name)
            self.tensors[index] = tensor

    def _constant(self, operator: Operator) -> None:
        """What converters leave to be computed from constants."""
        index = operator.inputs[0]
        shape = self.source.tensors[operator.outputs[0]].shape
        match operator.kind:
            case OperatorKind.DEQUANTIZE:
                self.constants[operator.outputs[0]] = self.constants[index]
            case OperatorKind.RESHAPE | OperatorKind.SQUEEZE | OperatorKind.EXPAND_DIMS:
                self.constants[operator.outputs[0]] = self.constants[index].reshape(shape)
            case _:
                raise self.error(operator, "of constants is not supported")


def _real(tensor: Tensor) -> np.ndarray:
    """A constant's numbers, dequantised if they have a scale, in float64 or as integers."""
    assert tensor.data is not None
    affine = tensor.quantization
    if tensor.dtype in ("int8", "uint8", "int32") and affine is not None:
        shape = [1] * len(tensor.shape)
        if len(affine.scale) > 1:
            shape[affine.axis] = len(affine.scale)
        scale, zero = affine.scale.reshape(shape), affine.zero_point.reshape(shape)
        return (tensor.data.astype(np.float64) - zero) * scale.astype(np.float64)
    return tensor.data.astype(np.float64) if tensor.dtype in _FLOATS else tensor.data


def _window(reader: _Reader, operator: Operator, tensor: int, kernel: tuple[int, int]) -> Window:
    options: Any = operator.options
    stride = (options.stride_h, options.stride_w)
    dilation = (getattr(options, "dilation_h", 1), getattr(options, "dilation_w", 1))
    shape = reader.graph.shapes[tensor]
    if len(shape) != 3 or min(*kernel, *stride, *dilation) < 1:
        raise reader.error(operator, "its window makes no sense")
    rows, columns = (
        extent(*each, options.padding) for each in zip(shape[:2], kernel, stride, dilation)
    )
    pads = (rows.before, columns.before, rows.after, columns.after)
    return Window(kernel, stride, dilation, pads)


def _conv_2d(reader: _Reader, operator: Operator) -> int:
    tensor, filters = reader.live(operator), reader.array(operator, 1, "weights")
    channels, rows, columns, inputs = filters.shape
    window = _window(reader, operator, tensor, (rows, columns))
    groups = reader.graph.shapes[tensor][2] // inputs
    bias = reader.bias(operator, 2, channels)
    weights = filters.transpose(1, 2, 3, 0)
    return reader.add(operator, Convolution(weights, bias, window, groups), [tensor])


def _depthwise(reader: _Reader, operator: Operator) -> int:
    tensor, filters = reader.live(operator), reader.array(operator, 1, "weights")
    _, rows, columns, outputs = filters.shape
    window = _window(reader, operator, tensor, (rows, columns))
    weights, bias = filters.transpose(1, 2, 0, 3), reader.bias(operator, 2, outputs)
    channels = reader.graph.shapes[tensor][2]
    return reader.add(operator, Convolution(weights, bias, window, channels), [tensor])


def _transpose_conv(reader: _Reader, operator: Operator) -> int:
    options: Any = operator.options
    tensor, filters = reader.live(operator, 2), reader.array(operator, 1, "weights")
    stride = (options.stride_h, options.stride_w)
    shape, wanted = reader.graph.shapes[tensor], reader.shape(operator.outputs[0])
    before, after = [], []
    for axis in (0, 1):
        full = (shape[axis] - 1) * stride[axis] + filters.shape[axis + 1]
        first = max(full - wanted[axis], 0) // 2
        before.append(first)
        after.append(full - wanted[axis] - first)
    weights = filters.transpose(1, 2, 3, 0)
    bias = reader.bias(operator, 3, weights.shape[3])
    crop = (before[0], before[1], after[0], after[1])
    return reader.add(operator, TransposedConvolution(weights, bias, stride, crop), [tensor])


def _fully_connected(reader: _Reader, operator: Operator) -> int:
    options: Any = operator.options
    tensor, matrix = reader.live(operator), reader.array(operator, 1, "weights")
    if matrix.ndim != 2:
        raise reader.error(operator, f"weights of {matrix.ndim} dimensions")
    weights, bias = matrix.T, reader.bias(operator, 2, len(matrix))
    shape = reader.graph.shapes[tensor]
    if prod(shape) == len(weights):
        if len(shape) > 1:
            flat = (prod(shape),)
            tensor = reader.graph.append(Reshape(flat), [tensor], operator.name)
        return reader.add(operator, Dense(weights, bias), [tensor])
    if not options.keep_num_dims and shape[-1] != len(weights):
        raise reader.error(operator, "changes the batch, which is not supported")
    pointwise = Convolution(weights[np.newaxis, np.newaxis], bias, Window((1, 1)))
    return reader.add(operator, pointwise, [tensor])


def _pool(average: bool) -> Callable[[_Reader, Operator], int]:
    def build(reader: _Reader, operator: Operator) -> int:
        options: Any = operator.options
        tensor = reader.live(operator)
        window = _window(reader, operator, tensor, (options.kernel_h, options.kernel_w))
        return reader.add(operator, AveragePool(window) if average else MaxPool(window), [tensor])

    return build


def _binary(kind: BinaryKind) -> Callable[[_Reader, Operator], int]:
    def build(reader: _Reader, operator: Operator) -> int:
        first, second = operator.inputs[:2]
        if first in reader.tensors and second in reader.tensors:
            return _of_two(reader, operator, kind, reader.tensors[first], reader.tensors[second])
        is_first = first in reader.tensors
        tensor = reader.tensors[first if is_first else second]
        values = reader.array(operator, 1 if is_first else 0, "other input")
        if values.ndim == len(reader.source.tensors[first if is_first else second].shape):
            values = values.reshape(values.shape[1:])
        one, zero = np.array(1.0), np.array(0.0)
        match kind:
            case BinaryKind.ADD:
                affine = Affine(one, values)
            case BinaryKind.SUB:
                affine = Affine(one, -values) if is_first else Affine(-one, values)
            case BinaryKind.MUL:
                affine = Affine(values, zero)
            case _:
                if values.size != 1:
                    raise reader.error(operator, "with an array is not supported")
                bound = float(values.ravel()[0])
                clamp = (bound, inf) if kind is BinaryKind.MAXIMUM else (-inf, bound)
                return reader.graph.append(Function("identity"), [tensor], operator.name, clamp)
        return reader.add(operator, affine, [tensor])

    return build


def _of_two(reader: _Reader, operator: Operator, kind: BinaryKind, first: int, second: int) -> int:
    graph = reader.graph
    rank = max(len(graph.shapes[first]), len(graph.shapes[second]))
    inputs = []
    for tensor in (first, second):
        shape = graph.shapes[tensor]
        if len(shape) < rank:
            wider = (*[1] * (rank - len(shape)), *shape)
            tensor = graph.append(Reshape(wider), [tensor], operator.name)
        inputs.append(tensor)
    return reader.add(operator, Binary(kind), inputs)


def _div(reader: _Reader, operator: Operator) -> int:
    values = reader.array(operator, 1, "divisor")
    if not values.all():
        raise reader.error(operator, "divides by 0")
    rank = len(reader.source.tensors[operator.inputs[0]].shape)
    shape = values.shape[1:] if values.ndim == rank else values.shape
    affine = Affine(1 / values.reshape(shape), np.array(0.0))
    return reader.add(operator, affine, [reader.live(operator)])


def _axes(reader: _Reader, operator: Operator, place: int = 1) -> tuple[int, ...]:
    """Axes of our tensor that an operator's constant names."""
    rank = len(reader.source.tensors[operator.inputs[0]].shape)
    chosen = {int(axis) % rank for axis in np.ravel(reader.array(operator, place, "axes"))}
    if 0 in chosen:
        raise reader.error(operator, "over the batch is not supported")
    return tuple(sorted(axis - 1 + (rank == 3) for axis in chosen))


def _reduction(kind: ReductionKind) -> Callable[[_Reader, Operator], int]:
    def build(reader: _Reader, operator: Operator) -> int:
        axes = _axes(reader, operator)
        return reader.add(operator, Reduction(kind, axes), [reader.live(operator)])

    return build


def _clip(low: float, high: float) -> Callable[[_Reader, Operator], int]:
    def build(reader: _Reader, operator: Operator) -> int:
        tensor = reader.live(operator)
        return reader.graph.append(Function("identity"), [tensor], operator.name, (low, high))

    return build


def _function(name: str) -> Callable[[_Reader, Operator], int]:
    def build(reader: _Reader, operator: Operator) -> int:
        alpha = 1.0 if name == "elu" else float(getattr(operator.options, "alpha", 0.0))
        return reader.add(operator, Function(name, alpha), [reader.live(operator)])

    return build


def _same(reader: _Reader, operator: Operator) -> int:
    return reader.live(operator)


def _softmax(reader: _Reader, operator: Operator) -> int:
    tensor = reader.live(operator)
    beta = float(getattr(operator.options, "beta", 1.0))
    if beta != 1:
        scale = Affine(np.array(beta), np.array(0.0))
        tensor = reader.graph.append(scale, [tensor], operator.name)
    if operator.kind is OperatorKind.LOG_SOFTMAX:
        reader.graph.notes.append(f"{operator.name}: softmax in place of its logarithm")
    return reader.graph.append(Softmax(), [tensor], operator.name)


def _prelu(reader: _Reader, operator: Operator) -> int:
    slope = reader.array(operator, 1, "slope")
    if slope.ndim == len(reader.source.tensors[operator.inputs[0]].shape):
        slope = slope[0]
    if slope[..., :1].size == 1:
        slope = slope.ravel()
    return reader.add(operator, PRelu(slope), [reader.live(operator)])


def _pad(reader: _Reader, operator: Operator) -> int:
    widths = reader.array(operator, 1, "padding").tolist()
    value = 0.0
    if operator.kind is OperatorKind.PADV2:
        value = float(reader.array(operator, 2, "value").ravel()[0])
    if any(widths[0]):
        raise reader.error(operator, "of the batch is not supported")
    pads = [(int(before), int(after)) for before, after in widths[1:]]
    if len(pads) == 2:
        pads = [(0, 0), *pads]
    return reader.add(operator, Pad(tuple(pads), value), [reader.live(operator)])


def _transpose(reader: _Reader, operator: Operator) -> int:
    order = [int(axis) for axis in np.ravel(reader.array(operator, 1, "order"))]
    if not order or order[0] != 0:
        raise reader.error(operator, "touches the batch, which is not supported")
    axes = tuple(axis - 1 for axis in order[1:])
    if len(axes) == 2:
        axes = (0, *(axis + 1 for axis in axes))
    return reader.add(operator, Transpose(axes), [reader.live(operator)])


def _concatenation(reader: _Reader, operator: Operator) -> int:
    options: Any = operator.options
    rank = len(reader.source.tensors[operator.inputs[0]].shape)
    axis = options.axis % rank
    if not axis:
        raise reader.error(operator, "of the batch is not supported")
    tensors = [reader.live(operator, place) for place in range(len(operator.inputs))]
    return reader.add(operator, Concatenation(axis - 1 + (rank == 3)), tensors)


def _slice(reader: _Reader, operator: Operator) -> int:
    taken = slices(reader.source, operator)
    shape = reader.source.tensors[operator.inputs[0]].shape
    parts = [range(*part.indices(size)) for part, size in zip(taken, shape)]
    if any(part.step < 1 or not len(part) for part in parts) or len(parts[0]) != 1:
        raise reader.error(operator, "takes nothing, or backwards, which is not supported")
    parts = parts[1:]
    if len(parts) == 2:
        parts = [range(1), *parts]
    begin, end, step = (
        tuple(getattr(part, name) for part in parts) for name in ("start", "stop", "step")
    )
    return reader.graph.append(Slice(begin, end, step), [reader.live(operator)], operator.name)


def _split(reader: _Reader, operator: Operator) -> list[int]:
    by_sizes = operator.kind is OperatorKind.SPLIT_V
    source = operator.inputs[0 if by_sizes else 1]
    axis = int(reader.array(operator, 2 if by_sizes else 0, "axis").ravel()[0])
    tensor = reader.tensors[source]
    rank = len(reader.source.tensors[source].shape)
    axis %= rank
    if not axis:
        raise reader.error(operator, "of the batch is not supported")
    ours = axis - 1 + (rank == 3)
    shape = reader.graph.shapes[tensor]
    results, start = [], 0
    for output in operator.outputs:
        size = reader.source.tensors[output].shape[axis]
        begin, end = [0] * len(shape), list(shape)
        begin[ours], end[ours] = start, start + size
        part = Slice(tuple(begin), tuple(end), (1,) * len(shape))
        results.append(reader.graph.append(part, [tensor], operator.name))
        start += size
    return results


def _resize(reader: _Reader, operator: Operator) -> int:
    options: Any = operator.options
    size = [int(each) for each in np.ravel(reader.array(operator, 1, "size"))]
    linear = operator.kind is OperatorKind.RESIZE_BILINEAR
    rounding = Nearest.FLOOR
    if options.align_corners:
        sampling, rounding = Sampling.ALIGN_CORNERS, Nearest.HALF_UP
        if options.half_pixel_centers:
            raise reader.error(operator, "both corners and centres are not supported")
    elif options.half_pixel_centers:
        # floor((i + 0.5) * in / out), which rounds the place between half pixels
        sampling, rounding = Sampling.HALF_PIXEL, Nearest.HALF_UP
    else:
        sampling = Sampling.ASYMMETRIC
    resize = Resize((size[0], size[1]), linear, sampling, rounding)
    return reader.add(operator, resize, [reader.live(operator)])


_OPERATORS: dict[OperatorKind, Callable[[_Reader, Operator], int | list[int]]] = {
    OperatorKind.ABS: _function("abs"),
    OperatorKind.ADD: _binary(BinaryKind.ADD),
    OperatorKind.AVERAGE_POOL_2D: _pool(average=True),
    OperatorKind.CONCATENATION: _concatenation,
    OperatorKind.CONV_2D: _conv_2d,
    OperatorKind.DEPTHWISE_CONV_2D: _depthwise,
    OperatorKind.DEQUANTIZE: _same,
    OperatorKind.DIV: _div,
    OperatorKind.ELU: _function("elu"),
    OperatorKind.EXPAND_DIMS: _same,
    OperatorKind.FULLY_CONNECTED: _fully_connected,
    OperatorKind.HARD_SWISH: _function("hard_swish"),
    OperatorKind.LEAKY_RELU: _function("leaky_relu"),
    OperatorKind.LOGISTIC: _function("sigmoid"),
    OperatorKind.LOG_SOFTMAX: _softmax,
    OperatorKind.MAXIMUM: _binary(BinaryKind.MAXIMUM),
    OperatorKind.MAX_POOL_2D: _pool(average=False),
    OperatorKind.MEAN: _reduction(ReductionKind.MEAN),
    OperatorKind.MINIMUM: _binary(BinaryKind.MINIMUM),
    OperatorKind.MUL: _binary(BinaryKind.MUL),
    OperatorKind.PAD: _pad,
    OperatorKind.PADV2: _pad,
    OperatorKind.PRELU: _prelu,
    OperatorKind.REDUCE_MAX: _reduction(ReductionKind.MAX),
    OperatorKind.REDUCE_MIN: _reduction(ReductionKind.MIN),
    OperatorKind.RELU: _clip(0.0, inf),
    OperatorKind.RELU6: _clip(0.0, 6.0),
    OperatorKind.RESHAPE: _same,
    OperatorKind.RESIZE_BILINEAR: _resize,
    OperatorKind.RESIZE_NEAREST_NEIGHBOR: _resize,
    OperatorKind.SLICE: _slice,
    OperatorKind.SOFTMAX: _softmax,
    OperatorKind.SPLIT: _split,
    OperatorKind.SPLIT_V: _split,
    OperatorKind.SQUEEZE: _same,
    OperatorKind.STRIDED_SLICE: _slice,
    OperatorKind.SUB: _binary(BinaryKind.SUB),
    OperatorKind.SUM: _reduction(ReductionKind.SUM),
    OperatorKind.TANH: _function("tanh"),
    OperatorKind.TRANSPOSE: _transpose,
    OperatorKind.TRANSPOSE_CONV: _transpose_conv,
}
"""What each kind becomes. Those that only reshape get the output's shape from the file."""
