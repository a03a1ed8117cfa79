"""What each operator of a float `.tflite` file becomes in a float graph.

What operators compute: https://www.tensorflow.org/mlir/tfl_ops.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, prod
from typing import Any

import numpy as np

from model.importing.channels_last import our_order, ours, padded_window, transposed, widened
from model.importing.float_operators import (
    Affine,
    AveragePool,
    Binary,
    BinaryKind,
    Concatenation,
    Convolution,
    Dense,
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
    Slice,
    Softmax,
    Transpose,
    Window,
)
from model.importing.tflite.context import Context
from model.int8.graph import Operator, OperatorKind
from model.int8.operators.slicing import slices

__all__ = ["OPERATORS"]


def _window(context: Context, operator: Operator, tensor: int, kernel: tuple[int, int]) -> Window:
    options: Any = operator.options
    stride = (options.stride_h, options.stride_w)
    dilation = (getattr(options, "dilation_h", 1), getattr(options, "dilation_w", 1))
    shape = context.graph.shapes[tensor]
    if len(shape) != 3 or min(*kernel, *stride, *dilation) < 1:
        raise context.error(operator, "its window makes no sense")
    return padded_window(shape, kernel, stride, dilation, options.padding)


def _conv_2d(context: Context, operator: Operator) -> int:
    tensor, filters = context.live(operator), context.array(operator, 1, "weights")
    channels, rows, columns, inputs = filters.shape
    window = _window(context, operator, tensor, (rows, columns))
    groups = context.graph.shapes[tensor][2] // inputs
    bias = context.bias(operator, 2, channels)
    weights = filters.transpose(1, 2, 3, 0)
    return context.add(operator, Convolution(weights, bias, window, groups), [tensor])


def _depthwise(context: Context, operator: Operator) -> int:
    tensor, filters = context.live(operator), context.array(operator, 1, "weights")
    _, rows, columns, outputs = filters.shape
    window = _window(context, operator, tensor, (rows, columns))
    weights, bias = filters.transpose(1, 2, 0, 3), context.bias(operator, 2, outputs)
    channels = context.graph.shapes[tensor][2]
    return context.add(operator, Convolution(weights, bias, window, channels), [tensor])


def _transpose_conv(context: Context, operator: Operator) -> int:
    options: Any = operator.options
    tensor, filters = context.live(operator, 2), context.array(operator, 1, "weights")
    stride = (options.stride_h, options.stride_w)
    weights = filters.transpose(1, 2, 3, 0)
    bias = context.bias(operator, 3, weights.shape[3])
    shape, wanted = context.graph.shapes[tensor], context.shape(operator.outputs[0])
    turned = transposed(weights, bias, stride, shape, wanted, options.padding)
    return context.add(operator, turned, [tensor])


def _fully_connected(context: Context, operator: Operator) -> int:
    options: Any = operator.options
    tensor, matrix = context.live(operator), context.array(operator, 1, "weights")
    if matrix.ndim != 2:
        raise context.error(operator, f"weights of {matrix.ndim} dimensions")
    weights, bias = matrix.T, context.bias(operator, 2, len(matrix))
    shape = context.graph.shapes[tensor]
    if prod(shape) == len(weights):
        if len(shape) > 1:
            flat = (prod(shape),)
            tensor = context.graph.append(Reshape(flat), [tensor], operator.name)
        return context.add(operator, Dense(weights, bias), [tensor])
    if not options.keep_num_dims and shape[-1] != len(weights):
        raise context.error(operator, "changes the batch, which is not supported")
    pointwise = Convolution(weights[np.newaxis, np.newaxis], bias, Window((1, 1)))
    return context.add(operator, pointwise, [tensor])


def _pool(average: bool) -> Callable[[Context, Operator], int]:
    def build(context: Context, operator: Operator) -> int:
        options: Any = operator.options
        tensor = context.live(operator)
        window = _window(context, operator, tensor, (options.kernel_h, options.kernel_w))
        return context.add(operator, AveragePool(window) if average else MaxPool(window), [tensor])

    return build


def _binary(kind: BinaryKind) -> Callable[[Context, Operator], int]:
    def build(context: Context, operator: Operator) -> int:
        first, second = operator.inputs[:2]
        if first in context.tensors and second in context.tensors:
            return _of_two(context, operator, kind, context.tensors[first], context.tensors[second])
        is_first = first in context.tensors
        place = 0 if is_first else 1
        tensor = context.live(operator, place)
        values = context.array(operator, 1 - place, "other input")
        values = context.unbatched(operator, values, place)
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
                    raise context.error(operator, "with an array is not supported")
                bound = float(values.ravel()[0])
                clamp = (bound, inf) if kind is BinaryKind.MAXIMUM else (-inf, bound)
                return context.graph.append(Function("identity"), [tensor], operator.name, clamp)
        return context.add(operator, affine, [tensor])

    return build


def _of_two(context: Context, operator: Operator, kind: BinaryKind, first: int, second: int) -> int:
    graph = context.graph
    rank = max(len(graph.shapes[first]), len(graph.shapes[second]))
    inputs = []
    for tensor in (first, second):
        shape = graph.shapes[tensor]
        if len(shape) < rank:
            wider = (*[1] * (rank - len(shape)), *shape)
            tensor = graph.append(Reshape(wider), [tensor], operator.name)
        inputs.append(tensor)
    return context.add(operator, Binary(kind), inputs)


def _reduction(kind: ReductionKind) -> Callable[[Context, Operator], int]:
    def build(context: Context, operator: Operator) -> int:
        named = np.ravel(context.array(operator, 1, "axes")).tolist()
        axes = tuple(sorted({context.axis(operator, axis) for axis in named}))
        return context.add(operator, Reduction(kind, axes), [context.live(operator)])

    return build


def _clip(low: float, high: float) -> Callable[[Context, Operator], int]:
    def build(context: Context, operator: Operator) -> int:
        tensor = context.live(operator)
        return context.graph.append(Function("identity"), [tensor], operator.name, (low, high))

    return build


def _function(name: str) -> Callable[[Context, Operator], int]:
    def build(context: Context, operator: Operator) -> int:
        alpha = 1.0 if name == "elu" else float(getattr(operator.options, "alpha", 0.0))
        return context.add(operator, Function(name, alpha), [context.live(operator)])

    return build


def _same(context: Context, operator: Operator) -> int:
    return context.live(operator)


def _softmax(context: Context, operator: Operator) -> int:
    tensor = context.live(operator)
    beta = float(getattr(operator.options, "beta", 1.0))
    if beta != 1:
        tensor = context.graph.append(Affine.uniform(beta), [tensor], operator.name)
    softmax = Softmax(operator.kind is OperatorKind.LOG_SOFTMAX)
    return context.graph.append(softmax, [tensor], operator.name)


def _prelu(context: Context, operator: Operator) -> int:
    slope = context.unbatched(operator, context.array(operator, 1, "slope"))
    return context.add(operator, PRelu(slope), [context.live(operator)])


def _pad(context: Context, operator: Operator) -> int:
    widths = context.array(operator, 1, "padding").tolist()
    value = 0.0
    if operator.kind is OperatorKind.PADV2:
        value = float(context.array(operator, 2, "value").ravel()[0])
    if any(widths[0]):
        raise context.error(operator, "of the batch is not supported")
    pads = widened([(int(before), int(after)) for before, after in widths[1:]], (0, 0))
    return context.add(operator, Pad(pads, value), [context.live(operator)])


def _transpose(context: Context, operator: Operator) -> int:
    order = [int(axis) for axis in np.ravel(context.array(operator, 1, "order"))]
    if not order or order[0] != 0:
        raise context.error(operator, "touches the batch, which is not supported")
    axes = our_order([axis - 1 for axis in order[1:]])
    return context.add(operator, Transpose(axes), [context.live(operator)])


def _concatenation(context: Context, operator: Operator) -> int:
    options: Any = operator.options
    axis = context.axis(operator, options.axis)
    tensors = [context.live(operator, place) for place in range(len(operator.inputs))]
    return context.add(operator, Concatenation(axis), tensors)


def _slice(context: Context, operator: Operator) -> int:
    taken = slices(context.source, operator)
    shape = context.source.tensors[operator.inputs[0]].shape
    parts = [range(*part.indices(size)) for part, size in zip(taken, shape)]
    if any(part.step < 1 or not len(part) for part in parts) or len(parts[0]) != 1:
        raise context.error(operator, "takes nothing, or backwards, which is not supported")
    ours = widened(parts[1:], range(1))
    begin, end, step = (
        tuple(getattr(part, name) for part in ours) for name in ("start", "stop", "step")
    )
    return context.graph.append(Slice(begin, end, step), [context.live(operator)], operator.name)


def _split(context: Context, operator: Operator) -> list[int]:
    by_sizes = operator.kind is OperatorKind.SPLIT_V
    place = 0 if by_sizes else 1
    tensor = context.live(operator, place)
    named = int(context.array(operator, 2 if by_sizes else 0, "axis").ravel()[0])
    axis = context.axis(operator, named, place)
    shape = context.graph.shapes[tensor]
    results, start = [], 0
    for output in operator.outputs:
        size = ours(context.shape(output))[axis]
        begin, end = [0] * len(shape), list(shape)
        begin[axis], end[axis] = start, start + size
        part = Slice(tuple(begin), tuple(end), (1,) * len(shape))
        results.append(context.graph.append(part, [tensor], operator.name))
        start += size
    return results


def _resize(context: Context, operator: Operator) -> int:
    options: Any = operator.options
    size = [int(each) for each in np.ravel(context.array(operator, 1, "size"))]
    linear = operator.kind is OperatorKind.RESIZE_BILINEAR
    rounding = Nearest.FLOOR
    if options.align_corners:
        sampling, rounding = Sampling.ALIGN_CORNERS, Nearest.HALF_UP
        if options.half_pixel_centers:
            raise context.error(operator, "both corners and centres are not supported")
    elif options.half_pixel_centers:
        # floor((i + 0.5) * in / out), which rounds the place between half pixels
        sampling, rounding = Sampling.HALF_PIXEL, Nearest.HALF_UP
    else:
        sampling = Sampling.ASYMMETRIC
    resize = Resize((size[0], size[1]), linear, sampling, rounding)
    return context.add(operator, resize, [context.live(operator)])


OPERATORS: dict[OperatorKind, Callable[[Context, Operator], int | list[int]]] = {
    OperatorKind.ABS: _function("abs"),
    OperatorKind.ADD: _binary(BinaryKind.ADD),
    OperatorKind.AVERAGE_POOL_2D: _pool(average=True),
    OperatorKind.CONCATENATION: _concatenation,
    OperatorKind.CONV_2D: _conv_2d,
    OperatorKind.DEPTHWISE_CONV_2D: _depthwise,
    OperatorKind.DEQUANTIZE: _same,
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
